-- KEYS: a session; ARGV: when it was used
local seen = redis.call('HGET', KEYS[1], 'last_seen')
if seen and tonumber(seen) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'last_seen', ARGV[1])
end
return 1
