-- What every script of the login's half begins with. All of its keys share one hash tag, so that
-- one charge may span an account, an address, a number's prefix and the fleet; KEYS[1] is what
-- their names begin with. Moments and lengths are milliseconds.

local base = KEYS[1]
-- Redis lets a key go only some time after nothing of it counts: what counts is decided by the
-- gateway's clock, and Redis' own may run ahead of it.
local SLACK = 86400000
local NOBODY = string.rep('0', 64)

local function key(kind, name)
  return base .. kind .. ':' .. name
end

local function whole(number)
  return string.format('%.0f', number)
end

-- A Redis without an epoch is a flushed one: it knows nothing of what was spent.
if redis.call('EXISTS', base .. 'epoch') == 0 then
  return redis.error_reply('NOEPOCH the store has no epoch')
end

local function see(now)
  local seen = tonumber(redis.call('HGET', base .. 'meta', 'high_water') or '0')
  if now > seen then
    redis.call('HSET', base .. 'meta', 'high_water', whole(now))
  end
end

local function keep(name, expires, now)
  redis.call('PEXPIRE', name, whole(math.max(expires - now, 0) + SLACK))
end

-- `limit:length,limit:length`
local function windows(text)
  local list, longest = {}, 0
  for limit, per in string.gmatch(text, '(%d+):(%d+)') do
    local window = { limit = tonumber(limit), per = tonumber(per) }
    list[#list + 1] = window
    longest = math.max(longest, window.per)
  end
  return list, longest
end

-- Lanes: the counters that an account's budgets are kept by. A name is the account, then `:u` or
-- `:k` with the device.

local function load_lane(name)
  local found = redis.call('HMGET', key('lane', name), 'charges', 'live', 'expires', 'stranger')
  local lane = {
    name = name,
    charges = {},
    live = {},
    expires = tonumber(found[3] or '0'),
    stranger = found[4] and tonumber(found[4]),
  }
  for at in string.gmatch(found[1] or '', '%d+') do
    lane.charges[#lane.charges + 1] = tonumber(at)
  end
  for id, expires in string.gmatch(found[2] or '', '(%x+):(%d+)') do
    lane.live[#lane.live + 1] = { id = id, expires = tonumber(expires) }
  end
  return lane
end

local function account_of(lane_name)
  return string.sub(lane_name, 1, 64)
end

local function remove_challenge(id)
  redis.call('DEL', key('challenge', id))
end

-- Forgets a lane with its counters and challenges.
local function forget_lane(name)
  for _, living in ipairs(load_lane(name).live) do
    remove_challenge(living.id)
  end
  redis.call('DEL', key('lane', name))
  redis.call('SREM', key('lanes', account_of(name)), name)
  redis.call('ZREM', base .. 'strangers', name)
end

local function save_lane(lane, now)
  local name = key('lane', lane.name)
  if #lane.charges == 0 and #lane.live == 0 then
    forget_lane(lane.name)
    return
  end
  local charges, live = {}, {}
  for place, at in ipairs(lane.charges) do
    charges[place] = whole(at)
  end
  for place, living in ipairs(lane.live) do
    live[place] = living.id .. ':' .. whole(living.expires)
  end
  redis.call('HSET', name, 'charges', table.concat(charges, ','), 'live',
    table.concat(live, ','), 'expires', whole(lane.expires))
  keep(name, lane.expires, now)
  local lanes = key('lanes', account_of(lane.name))
  redis.call('SADD', lanes, lane.name)
  local left = redis.call('PTTL', lanes)
  if left < lane.expires - now + SLACK then
    keep(lanes, lane.expires, now)
  end
  if lane.stranger then
    redis.call('HSET', name, 'stranger', whole(lane.stranger))
    redis.call('ZADD', base .. 'strangers', whole(lane.stranger), lane.name)
  else
    redis.call('HDEL', name, 'stranger')
    redis.call('ZREM', base .. 'strangers', lane.name)
  end
end

-- Drops what no longer counts.
local function prune(lane, now, longest)
  local live, charges = {}, {}
  for _, living in ipairs(lane.live) do
    if living.expires > now then
      live[#live + 1] = living
    end
  end
  for _, at in ipairs(lane.charges) do
    if longest == 0 or at + longest > now then
      charges[#charges + 1] = at
    end
  end
  lane.live, lane.charges = live, charges
end

-- When a comparison is free again, if a window is full: the latest of the full windows' moments.
local function lane_spent(lane, now, list)
  local latest
  for _, window in ipairs(list) do
    local first = 1
    while lane.charges[first] and lane.charges[first] + window.per <= now do
      first = first + 1
    end
    local surplus = #lane.charges - first + 1 - window.limit
    if surplus >= 0 then
      -- A limit of nought never frees; asking again after a whole window is soon enough.
      local frees = (lane.charges[first + surplus] or now) + window.per
      latest = math.max(latest or 0, frees)
    end
  end
  return latest
end

-- Challenges.

-- The process that counts. A master that took over, or was started again, may not know of the last
-- attempts that were acknowledged: a challenge is good only where it was opened.
local function counter()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
end

local function load_challenge(id, now)
  local flat = redis.call('HGETALL', key('challenge', id))
  if #flat == 0 then
    return nil
  end
  local challenge = {}
  for place = 1, #flat, 2 do
    challenge[flat[place]] = flat[place + 1]
  end
  if tonumber(challenge.expires) <= now or challenge.counter ~= counter() then
    return nil
  end
  return challenge
end

local function lane_of(challenge)
  return challenge.account .. ':' .. challenge.lane
end

local function whole_challenge(id)
  return redis.call('HGETALL', key('challenge', id))
end

-- Failures: an address without a user counts with all others of its kind.

local function failed_account(challenge)
  if challenge.user then
    return challenge.account
  end
  return NOBODY
end

-- The fleet's budget: kept as the moment at which it is full again.

local function shield(now, unit, burst)
  local meta = redis.call('HMGET', base .. 'meta', 'full_at', 'raised_at', 'by_hand', 'high_water')
  local full_at = tonumber(meta[1] or '0')
  -- Gateways' clocks differ, and calls overtake each other: time does not go back here.
  now = math.max(now, tonumber(meta[4] or '0'))
  local left = math.max(burst - math.ceil(math.max(full_at - now, 0) / unit), 0)
  local raised = meta[2] and tonumber(meta[2])
  local by_hand = raised and meta[3]
  if not by_hand and left * 2 >= burst then
    raised = nil
  end
  return { full_at = full_at, left = left, raised = raised, by_hand = by_hand }
end

-- Devices.

local function remove_device(id)
  local account = redis.call('HGET', key('device', id), 'account')
  if account then
    redis.call('DEL', key('device', id))
    redis.call('SREM', key('devices', account), id)
  end
end

local function forget_known(account, id)
  remove_device(id)
  forget_lane(account .. ':k' .. id)
end
