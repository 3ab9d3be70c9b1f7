-- Register or renew a member, and list everybody.
-- KEYS M R   ARGV member ttl generation address data yields_to uses_views
-- `generation` is what we were told before, '' at first. Another one, or none, means that the list was deleted:
-- we simply register again. The same one without our row means that others removed us.
-- A newcomer displaces whoever has its address: that one is dead (its port is ours) or configured wrongly. It
-- doesn't displace `yields_to`, by whom it was displaced itself.
-- Every change of the list gives it a larger number: the time in milliseconds, which grows also when the list was lost.
-- With `uses_views`, 1 or 0, a member whose row has run out is lost as well: others may have gone on without it.
-- Answers {OK, generation, number, id, data, ...}, {LOST, generation, who has our address or ''},
-- {TAKEN, generation, by}.
-- include _members.lua
local member, ttl, known, address, data, yields_to = ARGV[1], int(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local uses_views = ARGV[7] == '1'
local past = redis.call('HMGET', KEYS[1], 'gen', 'last', 'view', 'list')
local generation, last = past[1], int(past[2])
local rows = read_rows()

if not generation then
  generation = dec(now)
  redis.call('HSET', KEYS[1], 'gen', generation)
elseif now - last > ttl / 2 then
  -- Nobody was heard for so long that rows may have run out for no fault of their owners: the silence doesn't count.
  for id, row in pairs(rows) do
    if row.ends > last then
      row.ends = row.ends + now - last
      write_row(id, row)
    end
  end
elseif now < last then
  for id, row in pairs(rows) do
    if row.ends > now + ttl then
      row.ends = now + ttl
      write_row(id, row)
    end
  end
end
redis.call('HSET', KEYS[1], 'last', dec(now))

if uses_views and rows[member] and rows[member].ends <= now then
  redis.call('HDEL', KEYS[2], member)
  rows[member] = nil
end
if not rows[member] then
  local holder = ''
  for id, row in pairs(rows) do
    if row.address == address and row.ends > now then
      holder = id
    end
  end
  if known == generation then
    return { 'LOST', generation, holder }
  elseif holder ~= '' and holder == yields_to then
    return { 'TAKEN', generation, holder }
  end
end
for id, row in pairs(rows) do
  if id ~= member and (row.address == address or row.ends + 10 * ttl < now) then
    redis.call('HDEL', KEYS[2], id)
    rows[id] = nil
  end
end
rows[member] = { ends = now + ttl, address = address, data = data }
write_row(member, rows[member])

local view, list = int(past[3]), written_out(rows)
if list ~= past[4] then
  view = math.max(view + 1, math.floor(now / 1000))
  redis.call('HSET', KEYS[1], 'view', dec(view), 'list', list)
end
return answer('OK', generation, number_of(view, generation, ttl), rows)
