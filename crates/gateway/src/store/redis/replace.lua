local now, expected, value, version, message = unpack(ARGV)
if not is_live(KEYS[1], now) or redis.call('HGET', KEYS[1], 'n') ~= expected then
    return 0
end
redis.call('HSET', KEYS[1], 'v', value, 'n', version)
redis.call('PUBLISH', 'v:changes', message)
return 1
