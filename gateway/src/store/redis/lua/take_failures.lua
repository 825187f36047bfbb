-- ARGV: account
local name = key('failures', ARGV[1])
local told = redis.call('HGET', name, 'before_login') or '0'
redis.call('HSET', name, 'before_login', '0')
if (redis.call('HGET', name, 'since_login') or '0') == '0' then
  redis.call('DEL', name)
end
return tonumber(told)
