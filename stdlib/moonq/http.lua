-- HTTP for handlers. docs/http.md is the guide. What waits lets the other jobs of the worker run.
-- luacheck: globals _host

local json = require "moonq.json"

local host = _host
local concat, sort = table.concat, table.sort

---@class moonq.http
local http = {}

---@class moonq.HttpOptions
---@field query? table<string, any>   strings, numbers, booleans or lists of them; added to the URL by name
---@field headers? table<string, string|number|string[]>   a list sends the header once a value
---@field json? any                 the body; Content-Type: application/json
---@field form? table<string, any>  the body, as an HTML form sends it
---@field body? string              the body, as it is
---@field timeout? number|string    for everything, redirects included: seconds, or "30s" (the default)
---@field connect_timeout? number|string   "10s" by default
---@field redirects? integer        how many are followed; 5 by default, 0: none, a redirect is the response
---@field max_bytes? integer        of the response's body, unpacked; 10 MiB by default
---@field auth? { basic: string[]?, bearer: string? }   { basic = { name, password } } or { bearer = token }
---@field verify? boolean           false: accepts any certificate
---@field ca? string                a file with the certificates to trust, or such certificates as PEM text
---@field http2? boolean|"prior"    true by default, over TLS; "prior": also without
---@field proxy? string             "http://proxy.example:3128"; must be allowed too
---@field public_only? boolean      true: refuses addresses that are not public; for URLs that users supply
---@field raise? boolean            false: a status of 400 and above is a response like any other

---@class moonq.HttpResponse
---@field status integer
---@field headers table<string, string>   by name in any case; several of one name are joined by ", "
---@field body string
---@field json any                  the body, decoded when asked for. Raises JSON if it is none
---@field url string                where it came from, after redirects
---@field http_version "1.0"|"1.1"|"2"
---@field redirects integer         how many were followed
---@field retry_after? number       seconds
---@field timings { dns: number, connect: number, tls: number, first_byte: number, total: number }   seconds
---@field header_list string[]      name, value, name, value, as they came

local function raise(err, level)
  error(setmetatable(err, host.error_meta), level or 0)
end

local function misuse(message)
  raise({ code = "BADARG", message = message, retryable = false })
end

-- ---- what is sent --------------------------------------------------------------------------------------------

local function escape(text)
  return (tostring(text):gsub("[^%w%-%._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function sorted_names(fields)
  local names = {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  sort(names, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return names
end

-- "a=1&b=x&b=y". The order is that of the names, so the same table is always the same text.
local function encode_form(fields, what)
  if type(fields) ~= "table" then
    misuse(what .. " must be a table of names and values")
  end
  local pairs_ = {}
  for _, name in ipairs(sorted_names(fields)) do
    local values = fields[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      local kind = type(value)
      if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        misuse(("%s: the value of '%s' is a %s; it must be a string, a number, a boolean or a list of these"):format(
          what, tostring(name), kind))
      end
      pairs_[#pairs_ + 1] = escape(name) .. "=" .. escape(value)
    end
  end
  return concat(pairs_, "&")
end

local function with_query(url, query)
  local text = encode_form(query, "query")
  if text == "" then
    return url
  end
  local base, fragment = url:match("^([^#]*)(.*)$")
  local joint = base:find("?", 1, true) and (base:find("[?&]$") and "" or "&") or "?"
  return base .. joint .. text .. fragment
end

-- Name and value in turn; `has` says in small letters which are there.
local function header_list(headers)
  local list, has = {}, {}
  if headers ~= nil and type(headers) ~= "table" then
    misuse("headers must be a table of names and values")
  end
  for name, values in pairs(headers or {}) do
    if type(name) ~= "string" then
      misuse("headers must be given by name: headers = { [\"X-Name\"] = \"value\" }")
    end
    has[name:lower()] = true
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      if type(value) ~= "string" and type(value) ~= "number" then
        misuse(("header '%s' is a %s; it must be a string, a number or a list of these"):format(name, type(value)))
      end
      list[#list + 1] = name
      list[#list + 1] = tostring(value)
    end
  end
  return list, has
end

local function add_default(list, has, name, value)
  if not has[name:lower()] then
    list[#list + 1] = name
    list[#list + 1] = value
  end
end

local bodies = {
  json = function(value, list, has)
    add_default(list, has, "Content-Type", "application/json")
    add_default(list, has, "Accept", "application/json")
    return json.encode(value)
  end,
  form = function(value, list, has)
    add_default(list, has, "Content-Type", "application/x-www-form-urlencoded")
    return encode_form(value, "form")
  end,
  body = function(value)
    if type(value) ~= "string" then
      misuse("body must be a string, not a " .. type(value) .. " (json = sends any value, form = a form)")
    end
    return value
  end,
}

local function encode_body(opts, list, has)
  local kind
  for name in pairs(bodies) do
    if opts[name] ~= nil then
      if kind then
        misuse(("give one of json, form and body, not both %s and %s"):format(kind, name))
      end
      kind = name
    end
  end
  return kind and bodies[kind](opts[kind], list, has)
end

local function add_auth(request, auth)
  if type(auth) ~= "table" then
    misuse("auth must be { basic = { name, password } } or { bearer = token }")
  end
  if auth.basic then
    request.username, request.password = auth.basic[1], auth.basic[2] or ""
  elseif type(auth.bearer) == "string" then
    local headers = request.headers
    headers[#headers + 1] = "Authorization"
    headers[#headers + 1] = "Bearer " .. auth.bearer
  else
    misuse("auth must be { basic = { name, password } } or { bearer = token }")
  end
end

local known = { raise = true, redirects = true }
for name in ([[query headers json form body timeout connect_timeout max_bytes auth verify ca http2 proxy
  public_only]]):gmatch("%S+") do
  known[name] = true
end

local function prepare(method, url, opts)
  for name in pairs(opts) do
    if not known[name] then
      misuse(("there is no option '%s' (docs/http.md lists them)"):format(tostring(name)))
    end
  end
  if type(url) ~= "string" then
    misuse("url must be a string, not a " .. type(url))
  end
  local list, has = header_list(opts.headers)
  local request = {
    method = method:upper(),
    url = opts.query and with_query(url, opts.query) or url,
    headers = list,
    timeout = opts.timeout,
    connect_timeout = opts.connect_timeout,
    max_bytes = opts.max_bytes,
    verify = opts.verify,
    ca = opts.ca,
    http2 = opts.http2,
    proxy = opts.proxy,
    public_only = opts.public_only,
  }
  request.body = encode_body(opts, list, has)
  if opts.auth then
    add_auth(request, opts.auth)
  end
  return request
end

-- ---- what comes back -----------------------------------------------------------------------------------------

local headers_meta = {
  __index = function(headers, name)
    return type(name) == "string" and rawget(headers, name:lower()) or nil
  end,
  __metatable = false,
}

local function index_headers(list)
  local headers = {}
  for i = 1, #list, 2 do
    local name = list[i]:lower()
    local before = headers[name]
    headers[name] = before and before .. ", " .. list[i + 1] or list[i + 1]
  end
  return setmetatable(headers, headers_meta)
end

local function decode_json(response)
  local ok, value, why = pcall(json.decode, response.body)
  if ok and value ~= nil then
    return value
  end
  local reason = ok and why or value
  raise({
    code = "JSON",
    message = ("the answer of %s is not JSON: %s"):format(response.url:match("^[^?#]*"),
      type(reason) == "table" and reason.message or tostring(reason)),
    retryable = true, -- mostly the error page of something in between
    response = response,
  })
end

-- Worked out when asked for: many handlers look at the status alone.
local lazy = {
  headers = function(response)
    return index_headers(response.header_list)
  end,
  json = decode_json,
}

local response_meta = {
  __index = function(response, name)
    local make = lazy[name]
    if make then
      local value = make(response)
      rawset(response, name, value)
      return value
    end
  end,
  __metatable = false,
}

-- Once a request: starts it, waits, and takes what came.
local function perform(request)
  local op, allowed = host.http_request(request)
  host.net_wait(op)
  local raw, code, message, retryable = host.http_response(op)
  if not raw then
    raise({ code = code, message = message, retryable = retryable })
  end
  return raw, allowed
end

-- ---- redirects -----------------------------------------------------------------------------------------------

local redirect_status = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local body_headers = { ["content-type"] = true, ["content-encoding"] = true, ["content-language"] = true }
local secret_headers = { authorization = true, cookie = true, ["proxy-authorization"] = true, host = true }

local function without(list, names)
  local kept = {}
  for i = 1, #list, 2 do
    if not names[list[i]:lower()] then
      kept[#kept + 1] = list[i]
      kept[#kept + 1] = list[i + 1]
    end
  end
  return kept
end

-- "https://a.example:443" of "https://a.example/path"
local function origin(url)
  local scheme, authority = url:lower():match("^(%a[%w+.-]*)://([^/?#]*)")
  if scheme == "http" then
    authority = authority:gsub(":80$", "")
  elseif scheme == "https" then
    authority = authority:gsub(":443$", "")
  end
  return (scheme or "") .. "://" .. (authority or "")
end

-- Changes `request` into the one that the answer asks for.
local function follow(request, answer)
  local status, method = answer.status, request.method
  local becomes_get = (status == 303 and method ~= "HEAD") or
    ((status == 301 or status == 302) and method == "POST")
  if becomes_get then
    request.method, request.body = "GET", nil
    request.headers = without(request.headers, body_headers)
  end
  if origin(request.url) ~= origin(answer.redirect) then
    request.headers = without(request.headers, secret_headers)
    request.username, request.password = nil, nil
  end
  request.url = answer.redirect
end

local function seconds_left(request, left)
  if left <= 0.001 then
    raise({
      code = "TIMEOUT",
      message = request.method .. " " .. request.url:match("^[^?#]*") .. ": redirects took all of the time",
      retryable = true,
    })
  end
  return left
end

-- Each hop is a request of its own, so each is checked against the handler's allow list.
local function perform_all(request, most)
  local hops = 0
  local answer, left = perform(request)
  while answer.redirect and redirect_status[answer.status] and most > 0 do
    hops = hops + 1
    if hops > most then
      raise({
        code = "REDIRECTS",
        message = ("%s %s: more than %d redirects"):format(request.method, request.url:match("^[^?#]*"), most),
        retryable = false,
      })
    end
    left = left - answer.timings.total
    request.timeout = seconds_left(request, left)
    follow(request, answer)
    answer = perform(request)
  end
  answer.redirects = hops
  return answer
end

-- ---- the verbs -----------------------------------------------------------------------------------------------

local retryable_status = { [408] = true, [425] = true, [429] = true }

local function raise_status(request, response)
  local status = response.status
  local start = response.body:sub(1, 200)
  if start:find("[%z\1-\8\14-\31]") then
    start = "" -- not text
  end
  raise({
    code = "HTTP",
    status = status,
    message = ("%s %s answered %d%s"):format(request.method, response.url:match("^[^?#]*"), status,
      start ~= "" and ": " .. start or ""),
    retryable = retryable_status[status] or status >= 500,
    retry_after = response.retry_after,
    response = response,
  })
end

--- Sends a request and waits for its answer.
---
--- Roles: handler. Yields: yes. Raises: BADARG NOPERM TIMEOUT DNS CONNECT TLS BROKEN PROTOCOL TOOBIG FULL REDIRECTS
--- HTTP INTERNAL. HTTP is for a status of 400 and above: err.status, err.response, err.retry_after.
---@param method string           "GET"; any case
---@param url string              "https://api.example.com/v1/things"; the host must be in the handler's allow.http
---@param opts? moonq.HttpOptions
---@return moonq.HttpResponse
function http.request(method, url, opts)
  if type(method) ~= "string" then
    misuse("method must be a string, not a " .. type(method))
  end
  if opts ~= nil and type(opts) ~= "table" then
    misuse("options must be a table, not a " .. type(opts))
  end
  opts = opts or {}
  local most = opts.redirects == nil and 5 or opts.redirects
  if type(most) ~= "number" or most < 0 or most > 50 then
    misuse("redirects must be a number from 0 to 50")
  end
  local request = prepare(method, url, opts)
  local response = perform_all(request, most)
  response.header_list, response.headers = response.headers, nil
  response.redirect = nil
  response.url = request.url
  setmetatable(response, response_meta)
  if response.status >= 400 and opts.raise ~= false then
    raise_status(request, response)
  end
  return response
end

--- GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS: as http.request with that method.
---
--- Roles: handler. Yields: yes. Raises: as http.request.
for _, method in ipairs({ "get", "head", "post", "put", "patch", "delete", "options" }) do
  local name = method:upper()
  ---@param url string
  ---@param opts? moonq.HttpOptions
  ---@return moonq.HttpResponse
  http[method] = function(url, opts)
    return http.request(name, url, opts)
  end
end

return http
