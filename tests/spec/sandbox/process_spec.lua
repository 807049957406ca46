-- The walls around the process, seen from outside; tests/unit/runtime/test_confine.c tries them from within. And what
-- becomes of neighbours when a worker dies all the same.

local attack = require "sandbox.attack"
local posix = require "moonq_posix"
local support = require "support"

local function proc(pid, name)
  return support.read_file(("/proc/%d/%s"):format(pid, name))
end

local function pids(server)
  local list = {}
  for i, worker in ipairs(server.client:workers()) do
    list[i] = worker.pid
  end
  return list
end

describe("a worker's process", function()
  local server, pid
  setup(function()
    server = attack.start({
      burns = [[return { timeout = "1h", attempts = 2, run = function(job)
        job:progress(0, "burning")
        while not job.args.stop do end
      end }]],
      opens = [[
        local http = require "moonq.http"
        return { attempts = 1, timeout = "20s", allow = { http = { "127.0.0.1" } }, run = function()
          local says = {}
          for i, ca in ipairs({ "/etc/shadow", "/root/.ssh/id_rsa", "/home/x", "/proc/self/environ", "/tmp/x" }) do
            says[i] = select(2, pcall(http.get, "https://127.0.0.1:1/", { ca = ca })).code
          end
          return says
        end }]],
    }, { env = { MOONQ_SECRET = "hunter2" } })
    pid = pids(server)[1]
  end)
  teardown(support.stop_all)

  it("has no new privileges, and a filter of system calls", function()
    local status = proc(pid, "status")
    assert.matches("NoNewPrivs:%s*1\n", status)
    assert.matches("Seccomp:%s*2\n", status)
    for _, line in ipairs(server:log()) do
      assert.is_nil((line.message or ""):match("the kernel has no seccomp"), line.message)
    end
  end)

  it("has its limits", function()
    local limits = proc(pid, "limits")
    assert.matches("Max core file size%s+0%s+0%s", limits)
    local files = tonumber(limits:match("Max open files%s+%d+%s+(%d+)"))
    assert.is_true(files and files <= 4096, limits)
  end)

  it("has no file open but its socket, its run page, the log and what the loop needs", function()
    local listed = select(2, support.run({ "/bin/ls", "-l", ("/proc/%d/fd"):format(pid) }))
    for target in listed:gmatch("%-> ([^\n]+)") do
      local known = target:match("^socket:") or target:match("^anon_inode:") or target:match("^pipe:")
        or target:match("^/dev/null") or target:match("/log$") or target:match("/data/run/worker%-%d+$")
      assert.truthy(known, "an open file: " .. target)
    end
  end)

  it("reads no secrets as certificates", function()
    attack.among_neighbours(server, "opens", function()
      local answer = server.client:wait(server.client:push("opens"))
      assert.equal("succeeded", answer.state)
      for _, code in ipairs(answer.result) do
        assert.is_true(code == "TLS" or code == "CONNECT" or code == "BADARG", code)
      end
    end)
  end)

  it("does not end by a signal to the group", function()
    attack.among_neighbours(server, "signals", function()
      for _, name in ipairs({ "TERM", "INT", "HUP", "USR1" }) do
        posix.kill(pid, name)
      end
    end)
    assert.same({ pid }, pids(server))
  end)

  for _, name in ipairs({ "SEGV", "ABRT", "KILL" }) do
    it("that dies of SIG" .. name .. " costs the job on its CPU an attempt, and its neighbours none", function()
      attack.among_neighbours(server, name, function()
        local id = server.client:push("burns")
        server:await("job.progress", id)
        posix.kill(pids(server)[1], name)
        server:await("job.failed", id)
        local job = server.client:job(id)
        assert.equal(1, job.crashes)
        assert.equal("CRASH", job.attempts[#job.attempts].code)
        server.client:cancel(id)
      end)
    end)
  end
end)
