-- Asks Vestibule (speaks = "forward-auth") about a request: http-request lua.vestibule.
-- What it says of the caller replaces the request's headers; what it refuses goes to the client as it is.
local question = "http://127.0.0.1:9002/"

-- Headers that concern one connection, and those that only the proxy may say.
local kept_back = {
  ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["expect"] = true, ["te"] = true,
  ["host"] = true, ["x-forwarded-method"] = true, ["x-forwarded-uri"] = true, ["x-forwarded-host"] = true,
}
-- What the answer says of itself and not of the caller.
local not_said = {
  ["connection"] = true, ["content-length"] = true, ["cache-control"] = true, ["vary"] = true, ["date"] = true,
  ["referrer-policy"] = true, ["x-content-type-options"] = true, ["set-cookie"] = true, ["x-vestibule-auth"] = true,
}

local function refuse(txn, status, headers, body)
  local reply = txn:reply({ status = status, body = body or "" })
  for name, values in pairs(headers or {}) do
    if name ~= "connection" and name ~= "content-length" then
      for _, value in pairs(values) do
        reply:add_header(name, value)
      end
    end
  end
  txn:done(reply)
end

core.register_action("vestibule", { "http-req" }, function(txn)
  local asked = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not kept_back[name] then
      asked[name] = {}
      for index = 0, #values do
        table.insert(asked[name], values[index])
      end
    end
  end
  asked["x-forwarded-method"] = { txn.sf:method() }
  asked["x-forwarded-uri"] = { txn.sf:pathq() }
  asked["x-forwarded-host"] = { txn.sf:req_hdr("host") }

  local answer = core.httpclient():get({ url = question, headers = asked, timeout = 10000 })
  if not answer or not answer.status or answer.status == 0 then
    return refuse(txn, 503)
  end
  if answer.status < 200 or answer.status > 299 then
    return refuse(txn, answer.status, answer.headers, answer.body)
  end
  for name, values in pairs(answer.headers) do
    if not not_said[name] then
      txn.http:req_del_header(name)
      if values[0] and values[0] ~= "" then
        txn.http:req_set_header(name, values[0])
      end
    end
  end
end, 0)
