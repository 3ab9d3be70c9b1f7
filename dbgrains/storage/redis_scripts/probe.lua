-- reads only
-- What scripts can see here: {seconds since 1970, replication id or ''}. KEYS M
local info = redis.pcall('INFO', 'replication')
local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
return { tonumber(redis.call('TIME')[1]), replid }
