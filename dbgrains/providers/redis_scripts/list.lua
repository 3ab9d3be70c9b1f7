-- reads only
-- List everybody. KEYS M R   ARGV ttl   Answers {OK, generation or '', number, id, data, ...}; the number is 0 when a
-- row has run out and no member has come by yet to number the list that is left.
-- include _members.lua
local past = redis.call('HMGET', KEYS[1], 'gen', 'last', 'view', 'list')
local ttl, last = int(ARGV[1]), int(past[2])
if now - last > ttl / 2 and now - last < 10 * ttl then
  now = last -- nobody was heard for a while: who stopped, and who could not get through? Wait for a beat.
end
local rows = read_rows()
local number = '0'
if past[4] == written_out(rows) then
  number = number_of(past[3], past[1], ttl)
end
return answer('OK', past[1] or '', number, rows)
