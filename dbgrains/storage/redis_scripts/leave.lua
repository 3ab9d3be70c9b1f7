-- End a lease on purpose. KEYS M L I   ARGV member nonce   1 when it was ours.
-- Records that could not be released stay listed in I: then the row stays too, ended, for the sweep to find.
-- include _shard.lua
local member = ARGV[1]
local row = lease(member)
if not row or row.nonce ~= ARGV[2] then
  return 0
end
if redis.call('SCARD', KEYS[3]) == 0 then
  redis.call('HDEL', KEYS[2], member)
  bump_view()
elseif row.state ~= 'K' or row.ends > now then
  row.ends, row.state = math.min(row.ends, now), 'K'
  write_lease(member, row)
  bump_view()
end
return 1
