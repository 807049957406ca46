-- What the tests of the network share: a test is a task; its failure is printed, and counted in `failures`.
-- luacheck: globals t failures

local tests = {}
failures = 0

local function shown(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  for k, v in pairs(value) do
    parts[#parts + 1] = tostring(k) .. "=" .. (type(v) == "table" and "{...}" or tostring(v))
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

--- Runs `fn` now. With an argument on the command line's MOONQ_TEST, only tests whose names have it.
function tests.test(name, fn)
  local only = os.getenv("MOONQ_TEST")
  if only and not name:find(only, 1, true) then
    return
  end
  local began = t.clock()
  local ok, why = xpcall(fn, function(err)
    return type(err) == "table" and shown(err) .. "\n" .. debug.traceback() or debug.traceback(tostring(err))
  end)
  if not ok then
    failures = failures + 1
    io.stderr:write("FAILED: ", name, "\n", why, "\n")
  elseif os.getenv("MOONQ_TEST_VERBOSE") then
    io.stderr:write(("ok %5.0f ms  %s\n"):format((t.clock() - began) * 1000, name))
  end
end

function tests.equal(expected, actual, what)
  if expected ~= actual then
    error(("%sexpected %s, got %s"):format(what and what .. ": " or "", shown(expected), shown(actual)), 2)
  end
end

function tests.contains(part, text)
  if type(text) ~= "string" or not text:find(part, 1, true) then
    error(("expected something with '%s', got %s"):format(part, shown(text)), 2)
  end
end

function tests.is_true(value, what)
  if not value then
    error(what or "expected it to be true", 2)
  end
end

--- The error that `fn` raises, which must have this code.
function tests.raises(code, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then
    error("expected an error " .. code, 2)
  elseif type(err) ~= "table" or err.code ~= code then
    error("expected an error " .. code .. ", got " .. shown(err), 2)
  end
  return err
end

--- Runs all functions at once, each as a task, and waits for them. Their errors are the answer.
function tests.together(list)
  local tasks, errors = {}, {}
  for i, fn in ipairs(list) do
    tasks[i] = t.go(function()
      local ok, err = pcall(fn, i)
      if not ok then
        errors[#errors + 1] = err
      end
    end)
  end
  for _, task in ipairs(tasks) do
    while not t.is_over(task) do
      t.sleep(0.002)
    end
  end
  return errors
end

function tests.python(script, ...)
  return t.spawn({ "/usr/bin/python3", "-B", "tests/spec/net/" .. script, ... })
end

--- Waits until something listens.
function tests.await_port(port)
  for _ = 1, 2000 do
    if t.try_connect(port) then
      return
    end
    t.sleep(0.005)
  end
  error("nothing listens on port " .. port)
end

--- Writes a certificate for localhost and 127.0.0.1; the folder, with cert.pem and key.pem.
function tests.certificate()
  local folder = t.folder()
  local code = os.execute(([[openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
    -addext "subjectAltName=DNS:localhost,DNS:secure.test,IP:127.0.0.1" \
    -keyout %s/key.pem -out %s/cert.pem 2>/dev/null]]):format(folder, folder))
  assert(code == 0 or code == true, "openssl failed")
  return folder
end

return tests
