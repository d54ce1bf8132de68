local now, dies, ttl, version = unpack(ARGV)
if not is_live(KEYS[1], now) then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'e', dies)
    redis.call('PEXPIRE', KEYS[1], ttl)
end
redis.call('HSET', KEYS[1], 'n', version)
return redis.call('HINCRBY', KEYS[1], 'c', 1)
