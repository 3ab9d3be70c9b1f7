-- Forbid members to renew. KEYS M L   ARGV expected_view ('' for any) member1..membern
-- Answers {OK, left1..leftn} in microseconds: a running lease is never shortened. {CONFLICT} when the view moved.
-- include _shard.lua
if ARGV[1] ~= '' and int(ARGV[1]) ~= int(redis.call('HGET', KEYS[1], 'vv')) then
  return { 'CONFLICT' }
end
local answer, changed = { 'OK' }, false
for i = 2, #ARGV do
  local row = lease(ARGV[i])
  if row and row.state ~= 'K' then
    row.state = 'K'
    write_lease(ARGV[i], row)
    changed = true
  end
  answer[i] = is_running(row) and row.ends - now or 0
end
if changed then
  bump_view()
end
return answer
