-- ARGV: now, id, code, lifetime, link (empty: a renewal; else the link that is followed)
local now, id, expires = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[1]) + tonumber(ARGV[4])
see(now)
local old = load_challenge(id, now)
if not old then
  return {}
end
local name = key('challenge', id)
if ARGV[5] == '' then
  if old.gate == 'link' then
    return {}
  end
else
  if old.gate ~= 'link' or old.link ~= ARGV[5] then
    return {}
  end
  redis.call('HSET', name, 'gate', 'followed')
  redis.call('HDEL', name, 'link')
end
redis.call('HSET', name, 'code', ARGV[3], 'created', whole(now), 'expires', whole(expires))
keep(name, expires, now)
local lane = load_lane(lane_of(old))
for _, living in ipairs(lane.live) do
  if living.id == id then
    living.expires = expires
  end
end
lane.expires = math.max(lane.expires, expires)
save_lane(lane, now)
return whole_challenge(id)
