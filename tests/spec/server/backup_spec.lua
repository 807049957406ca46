local posix = require "moonq_posix"
local support = require "support"

local files = {
  ["moonq.lua"] = "return {}",
  ["handlers/a.lua"] = "return { run = function() end }",
}

-- What mdb_copy does, in a process of its own as that is: LMDB's lock and reader table are shared with the server.
local COPY = [[
  local ffi = require "ffi"
  ffi.cdef "int mdb_env_create(void **); int mdb_env_open(void *, const char *, unsigned, int); \
            int mdb_env_copy(void *, const char *); void mdb_env_close(void *);"
  local lmdb, env = ffi.load("liblmdb.so.0"), ffi.new("void *[1]")
  local NOSUBDIR, RDONLY = 0x4000, 0x20000
  assert(lmdb.mdb_env_create(env) == 0)
  assert(lmdb.mdb_env_open(env[0], arg[1], NOSUBDIR + RDONLY, 384) == 0)
  assert(lmdb.mdb_env_copy(env[0], arg[2]) == 0)
  lmdb.mdb_env_close(env[0])
]]

local function copy(from, to)
  local program = support.folder()
  support.write_file(program .. "/copy.lua", COPY)
  local status, out, err = support.run({ "luajit", program .. "/copy.lua", from, to })
  assert.equal(0, status, out .. err)
end

--- Serves what is in `data`, and answers which of the ids it has.
local function ids_in(data, ids)
  local status, out = support.run({ support.binary, "fsck", data })
  assert.equal(0, status, out)
  local server = support.start({ files = files, args = { "--data", data } })
  local found = {}
  for _, id in ipairs(ids) do
    local ok, job = pcall(server.client.job, server.client, id)
    found[#found + 1] = ok and job and id or nil
  end
  server:halt()
  return found
end

describe("a copy of the store", function()
  after_each(support.stop_all)

  local function with_jobs()
    local server = support.start({ files = files })
    server.client:pause("default")
    local ids = {}
    for i = 1, 50 do ids[i] = server.client:push("a", { n = i }) end
    return server, ids
  end

  it("has all that was confirmed, if somebody looked before mdb_copy, while more comes in", function()
    local server, ids = with_jobs()
    local data = support.folder() .. "/data"
    assert(posix.mkdir(data, 448))
    server.client:stats()
    local id = server.client:push("a", { late = true }) -- an open transaction: LMDB's lock is held
    copy(server.data .. "/moonq.mdb", data .. "/moonq.mdb")
    assert.equal("ready", server.client:job(id).state)
    assert.same(ids, ids_in(data, ids))
  end)

  it("is the folder of a killed server, with its journal", function()
    local server, ids = with_jobs()
    server:kill()
    local data = support.folder() .. "/data"
    assert.equal(0, (support.run({ "cp", "-a", server.data, data })))
    assert.same(ids, ids_in(data, ids))
  end)

  it("is the folder of a stopped server, even without its journal", function()
    local server, ids = with_jobs()
    server:halt()
    local data = support.folder() .. "/data"
    assert.equal(0, (support.run({ "cp", "-a", server.data, data })))
    assert(os.remove(data .. "/moonq.journal"))
    assert.same(ids, ids_in(data, ids))
  end)
end)
