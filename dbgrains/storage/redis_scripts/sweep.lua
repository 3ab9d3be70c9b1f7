-- Collect records of a member that is long dead. KEYS M L I A1..An   ARGV owner grace quarantine gap
-- The caller read the ids from I before; a record that has moved since is only unlisted. The row goes last:
-- it is what tells a late returner that it is dead. Answers {OK, deleted, left}, {QUAR} or {ALIVE}.
-- include _shard.lua
-- include _history.lua
local owner, grace = ARGV[1], int(ARGV[2])
local past = history(int(ARGV[3]), int(ARGV[4]), false)
if not past or now < past.opens + grace then
  return { 'QUAR' }
end
local row = lease(owner)
if row and row.ends + grace > now then
  return { 'ALIVE' }
end
local dead, ids = {}, {}
for i = 4, #KEYS do
  local record = redis.pcall('HGET', KEYS[i], 'm')
  if record == owner then
    dead[#dead + 1] = KEYS[i]
  end
  ids[#ids + 1] = string.sub(KEYS[i], #KEYS[1] + 2)
end
if #dead > 0 then
  redis.call('DEL', unpack(dead))
end
if #ids > 0 then
  redis.call('SREM', KEYS[3], unpack(ids))
end
local left = redis.call('SCARD', KEYS[3])
if left == 0 and redis.call('HDEL', KEYS[2], owner) == 1 then
  bump_view()
end
return { 'OK', #dead, left }
