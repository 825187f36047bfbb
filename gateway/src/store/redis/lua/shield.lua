-- ARGV: now, unit, burst, what: read, raise, lower, or mark the moment
local now, unit, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local meta = base .. 'meta'
if ARGV[4] ~= 'read' then
  see(now)
end
if ARGV[4] == 'raise' then
  redis.call('HSET', meta, 'raised_at', whole(shield(now, unit, burst).raised or now), 'by_hand', '1')
elseif ARGV[4] == 'lower' then
  redis.call('HDEL', meta, 'raised_at', 'by_hand')
  local half = now + unit * math.floor(burst / 2)
  local full_at = tonumber(redis.call('HGET', meta, 'full_at') or '0')
  redis.call('HSET', meta, 'full_at', whole(math.min(full_at, half)))
end
local state = shield(now, unit, burst)
return { state.raised and whole(state.raised) or '', state.by_hand and '1' or '', whole(state.left) }
