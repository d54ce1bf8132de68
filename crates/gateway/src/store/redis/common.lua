-- An entry is a hash: v value, c count, n version, e the microsecond in which it dies, g the places of its groups.
-- A group is a sorted set of keys by the microsecond in which they die.

local function is_live(place, now)
    local dies = redis.call('HGET', place, 'e')
    return dies and tonumber(dies) > tonumber(now)
end

local function groups_of(place)
    local packed = redis.call('HGET', place, 'g')
    return packed and cmsgpack.unpack(packed) or {}
end

local function forget(place, key)
    for _, group in ipairs(groups_of(place)) do
        redis.call('ZREM', group, key)
    end
    redis.call('DEL', place)
end

-- A group is kept as long as its longest member.
local function keep(group, ttl)
    if redis.call('PTTL', group) < tonumber(ttl) then
        redis.call('PEXPIRE', group, ttl)
    end
end

