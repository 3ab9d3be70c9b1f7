-- Register or renew a member, and list everybody.
-- KEYS M R   ARGV member ttl generation address data yields_to
-- `generation` is what we were told before, '' at first. Another one, or none, means that the list was deleted:
-- we simply register again. The same one without our row means that others removed us.
-- A newcomer displaces whoever has its address: that one is dead (its port is ours) or configured wrongly. It
-- doesn't displace `yields_to`, by whom it was displaced itself.
-- Answers {OK, generation, id, data, ...}, {LOST, generation, who has our address or ''}, {TAKEN, generation, by}.
-- include _members.lua
local member, ttl, known, address, data, yields_to = ARGV[1], int(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local past = redis.call('HMGET', KEYS[1], 'gen', 'last')
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
return answer('OK', generation, rows)
