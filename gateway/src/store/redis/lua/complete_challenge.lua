-- ARGV: now, id, user, when the comparison was charged, devices remembered, the new device
-- (empty: none), then its handle, account, created, last_seen, expires, client
local now, id = tonumber(ARGV[1]), ARGV[2]
local challenge = load_challenge(id, now)
-- A challenge opens its own user's session and no other; without a user it opens none.
if not challenge or challenge.user ~= ARGV[3] then
  return 0
end
see(now)
remove_challenge(id)
local lane = load_lane(lane_of(challenge))
for place, at in ipairs(lane.charges) do
  if at == tonumber(ARGV[4]) then
    table.remove(lane.charges, place)
    break
  end
end
local drawn = tonumber(challenge.drawn)
if drawn > 0 then
  local full_at = tonumber(redis.call('HGET', base .. 'meta', 'full_at') or '0')
  redis.call('HSET', base .. 'meta', 'full_at', whole(math.max(full_at - drawn, 0)))
end
for place = #lane.live, 1, -1 do
  if lane.live[place].id == id then
    table.remove(lane.live, place)
  end
end
local device = ARGV[6]
local former = string.match(challenge.lane, '^k(%x+)$')
if device ~= '' and former then
  -- The cookie is rotated: what was charged to the device stays charged to it.
  remove_device(former)
  forget_lane(lane.name)
  lane.live = {}
  lane.name = challenge.account .. ':k' .. device
end
save_lane(lane, now)
if device ~= '' then
  local account, most = ARGV[8], math.max(tonumber(ARGV[5]), 1)
  local name = key('device', device)
  redis.call('DEL', name)
  redis.call('HSET', name, 'handle', ARGV[7], 'account', account, 'created', ARGV[9], 'last_seen',
    ARGV[10], 'expires', ARGV[11], 'client', ARGV[12])
  keep(name, tonumber(ARGV[11]), now)
  local others = {}
  for _, other in ipairs(redis.call('SMEMBERS', key('devices', account))) do
    local seen = redis.call('HGET', key('device', other), 'last_seen')
    if not seen then
      redis.call('SREM', key('devices', account), other)
    elseif other ~= device then
      others[#others + 1] = { id = other, seen = tonumber(seen) }
    end
  end
  table.sort(others, function(a, b)
    return a.seen < b.seen or (a.seen == b.seen and a.id < b.id)
  end)
  for place = 1, #others + 1 - most do
    forget_known(account, others[place].id)
  end
  redis.call('SADD', key('devices', account), device)
  keep(key('devices', account), tonumber(ARGV[11]), now)
end
local failures = key('failures', challenge.account)
local failed = tonumber(redis.call('HGET', failures, 'since_login') or '0')
redis.call('HSET', failures, 'since_login', '0', 'before_login', whole(math.max(failed - 1, 0)))
return 1
