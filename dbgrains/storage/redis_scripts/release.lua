-- Give records back. KEYS I A1..An   ARGV member "token1 .. tokenn"   How many were exactly ours.
-- Needs neither clock nor history: only (member, token) decides.
local member, released, unlisted, i = ARGV[1], 0, {}, 1
local id_starts = #KEYS[1] - #member + 1 -- "<tag>:I:<member>" beside "<tag>:A:<id>"
for token in string.gmatch(ARGV[2], '%S+') do
  i = i + 1
  local record = redis.pcall('HMGET', KEYS[i], 'm', 't')
  local is_ours = not record.err and record[1] == member
  if is_ours and record[2] == token then
    redis.call('DEL', KEYS[i])
    released = released + 1
    is_ours = false
  end
  if not is_ours then
    unlisted[#unlisted + 1] = string.sub(KEYS[i], id_starts)
  end
end
if #unlisted > 0 then
  redis.call('SREM', KEYS[1], unpack(unlisted))
end
return released
