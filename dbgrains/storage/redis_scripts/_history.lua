-- The guard of every script that grants something: has this server's history an end to it, or a hole?
--
--   nothing stored          first use, or everything was deleted     closed for `quarantine`, new generation
--   other replication id    restarted, or promoted from a replica    closed, new generation, tokens jump
--   silent for over `gap`   nobody could renew, or the clock jumped  closed, but renew may open it early
--   clock behind `last`     stepped back                             nothing may outlast what it could have had
--
-- Closed means: no record changes hands. Returns nil where there is no history and `may_begin` is false,
-- else { generation, opens, closed_until (without the gap window), token }.
local function history(quarantine, gap, may_begin)
  local stored = redis.call('HMGET', KEYS[1], 'gen', 'rid', 'ep', 'oa', 'last', 'og')
  local info = redis.pcall('INFO', 'replication')
  local replid = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or nil

  if not stored[1] then
    if not may_begin then
      return nil
    end
    redis.call('HSET', KEYS[1], 'v', '1', 'gen', dec(now), 'rid', replid or '?', 'ep', dec(now),
      'oa', dec(now + quarantine), 'oc', dec(now), 'last', dec(now))
    return { generation = now, opens = now + quarantine, closed_until = now + quarantine, token = now }
  end

  local generation, token, last = int(stored[1]), int(stored[3]), int(stored[5])
  local closed_until, gap_until = int(stored[4]), int(stored[6])
  local changes = {}
  local function change(field, value)
    changes[#changes + 1] = field
    changes[#changes + 1] = value
  end

  if replid and replid ~= stored[2] then
    generation = math.max(generation + 1, now)
    -- Grants that were acknowledged and then lost may have used larger tokens than we know of: jump over
    -- them, by another amount in each history, so that two histories do not meet again.
    token = math.max(token + 1000000000 + (tonumber(string.sub(replid, 1, 8), 16) or 0), now)
    closed_until = now + quarantine
    change('gen', dec(generation))
    change('rid', replid)
    change('ep', dec(token))
    change('oc', dec(now))
    change('oa', dec(closed_until))
  elseif now - last > gap then
    if gap_until <= now then
      change('gl', dec(last)) -- a gap inside a gap keeps the first reference
    end
    gap_until = now + quarantine
    change('gn', dec(now))
    change('og', dec(gap_until))
    if last < closed_until then
      -- The quarantine was running when the clock jumped or everything stood still. How much of it really
      -- passed is unknown, and unlike a gap it must not be cut short: what was left of it is still left.
      closed_until = now + (closed_until - last)
      change('oa', dec(closed_until))
    end
  end

  if now < last then
    local all = redis.call('HGETALL', KEYS[2])
    for i = 1, #all, 2 do
      local row = parse_lease(all[i + 1])
      if row and row.ends > now + row.ttl then
        row.ends = now + row.ttl
        write_lease(all[i], row)
      end
    end
    closed_until = math.min(closed_until, now + quarantine)
    gap_until = math.min(gap_until, now + quarantine)
    change('oa', dec(closed_until))
    change('og', dec(gap_until))
  end

  if now ~= last then
    change('last', dec(now))
  end
  if #changes > 0 then
    redis.call('HSET', KEYS[1], unpack(changes))
  end
  return {
    generation = generation,
    opens = math.max(closed_until, gap_until),
    closed_until = closed_until,
    token = token,
  }
end

local function remember_token(token)
  redis.call('HSET', KEYS[1], 'ep', dec(token))
end

-- What JOIN and RENEW answer.
local function lease_answer(code, ends, past)
  local view = int(redis.call('HGET', KEYS[1], 'vv'))
  return { code, now, ends, past.opens, past.generation, past.token, view }
end
