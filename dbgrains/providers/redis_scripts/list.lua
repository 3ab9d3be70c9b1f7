-- reads only
-- List everybody. KEYS M R   ARGV ttl   Answers {OK, generation or '', id, data, ...}
-- include _members.lua
local past = redis.call('HMGET', KEYS[1], 'gen', 'last')
local ttl, last = int(ARGV[1]), int(past[2])
if now - last > ttl / 2 and now - last < 10 * ttl then
  now = last -- nobody was heard for a while: who stopped, and who could not get through? Wait for a beat.
end
return answer('OK', past[1] or '', read_rows())
