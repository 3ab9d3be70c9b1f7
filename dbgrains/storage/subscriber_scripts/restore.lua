-- Write subscribers of a lost list again.
-- KEYS[1] the list; ARGV: epoch, then field and value of each. Returns 'done', or 'fenced' when it was opened since.
local epoch = redis.call('HGET', KEYS[1], '@e')
if epoch and epoch ~= ARGV[1] then
    return 'fenced'
end
redis.call('HSET', KEYS[1], '@e', ARGV[1])
for i = 2, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 'done'
