-- KEYS: a session, its last use; ARGV: when it was used
local left = redis.call('PTTL', KEYS[1])
if left == -2 then
  return 0
end
local seen = tonumber(redis.call('GET', KEYS[2]) or '0')
if seen < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[2], ARGV[1])
end
if left > 0 then
  redis.call('PEXPIRE', KEYS[2], left)
end
return 1
