-- reads only
-- Whose lease ended more than `grace` ago, or is not readable. KEYS M L   ARGV grace
-- Answers {expired members, unreadable members}; the unreadable count as expired.
-- include _shard.lua
local expired, unreadable = {}, {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local row = parse_lease(all[i + 1])
  if not row then
    unreadable[#unreadable + 1] = all[i]
  elseif row.ends + int(ARGV[1]) < now then
    expired[#expired + 1] = all[i]
  end
end
return { expired, unreadable }
