--- The shim's page (shim.h) from Lua: how tests steer it.
---
---     local page = require("page").create(path)
---     page.sync_us = 500

local ffi = require "ffi"

if not pcall(ffi.typeof, "struct shim_page") then -- another module of this process may have said it
  ffi.cdef [[
    struct shim_page {
      volatile uint64_t records;
      volatile int64_t sync_us, write_errno, sync_errno, allowed, failures, clock_step_ms, only;
    };
  ]]
end
ffi.cdef [[
  int open(const char *path, int flags, ...);
  int close(int fd);
  int ftruncate(int fd, long len);
  void *mmap(void *at, size_t len, int prot, int flags, int fd, long offset);
  int munmap(void *at, size_t len);
]]

local O_RDWR, O_CREAT, PROT_READ_WRITE, MAP_SHARED = 2, 64, 3, 1

local M = {}

--- Makes the file and maps it. The fields are those of struct shim_page; 64-bit ones read as cdata: tonumber() them.
---@param path string
function M.create(path)
  local size = ffi.sizeof("struct shim_page")
  local fd = ffi.C.open(path, O_RDWR + O_CREAT, ffi.cast("int", 384)) -- 0600
  assert(fd >= 0, path)
  assert(ffi.C.ftruncate(fd, size) == 0)
  local at = ffi.C.mmap(nil, size, PROT_READ_WRITE, MAP_SHARED, fd, 0)
  ffi.C.close(fd)
  assert(ffi.cast("intptr_t", at) ~= -1, "mmap")
  return ffi.cast("struct shim_page *", at)
end

return M
