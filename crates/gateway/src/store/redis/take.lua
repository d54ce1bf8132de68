local now, key, message = unpack(ARGV)
local value = is_live(KEYS[1], now) and redis.call('HGET', KEYS[1], 'v')
forget(KEYS[1], key)
if value then
    redis.call('PUBLISH', 'v:changes', message)
end
return value
