-- End a lease at once. KEYS M L   ARGV member nonce   1 when it was that incarnation's.
-- Only with proof that the process is dead: its grains may be granted again from here on.
-- include _shard.lua
local row = lease(ARGV[1])
if not row or row.nonce ~= ARGV[2] then
  return 0
end
if row.state ~= 'K' or row.ends > now then
  row.ends, row.state = math.min(row.ends, now), 'K'
  write_lease(ARGV[1], row)
  bump_view()
end
return 1
