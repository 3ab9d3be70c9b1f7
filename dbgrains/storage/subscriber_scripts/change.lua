-- Add and remove subscribers of a topic, each as a field of its own.
-- KEYS[1] the list; ARGV: epoch, number of removed, removed fields..., then field and value of each added one.
-- Returns 'done', 'fenced' (opened again since) or 'lost' (there is no list).
local epoch = redis.call('HGET', KEYS[1], '@e')
if not epoch then
    return 'lost'
end
if epoch ~= ARGV[1] then
    return 'fenced'
end
local removed = tonumber(ARGV[2])
for i = 3, 2 + removed do
    redis.call('HDEL', KEYS[1], ARGV[i])
end
for i = 3 + removed, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 'done'
