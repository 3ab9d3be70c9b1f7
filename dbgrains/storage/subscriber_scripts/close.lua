-- A topic ended in good order: keep where its numbers go on.
-- KEYS[1] the list; ARGV: epoch, last sequence.
if redis.call('HGET', KEYS[1], '@e') ~= ARGV[1] then
    return 'fenced'
end
redis.call('HSET', KEYS[1], '@q', ARGV[2])
return 'done'
