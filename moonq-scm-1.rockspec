rockspec_format = "3.0"
package = "moonq"
version = "scm-1"

source = {
  url = "git+file://.", -- `luarocks make` in a checkout
}

description = {
  summary = "Lua client and testing helper of moonq, the durable job server",
  detailed = [[
moonq keeps background jobs on disk and runs them as Lua handlers. This rock is for programs that push jobs, consume
them or test against a real server: moonq.client and moonq.testing. The server itself is built with make.]],
  license = "MIT",
}

dependencies = {
  "lua >= 5.1, < 5.2",
  "lua-cjson >= 2.1",
}

external_dependencies = {
  HIREDIS = { header = "hiredis/hiredis.h" },
}

build = {
  type = "builtin",
  modules = {
    ["moonq.client"] = "stdlib/moonq/client.lua",
    ["moonq.client.json"] = "stdlib/moonq/client/json.lua",
    ["moonq.client.shapes"] = "stdlib/moonq/client/shapes.lua",
    ["moonq.testing"] = "stdlib/moonq/testing.lua",
    moonq_redis = {
      sources = { "core/runtime/client.c" },
      incdirs = { "core", "$(HIREDIS_INCDIR)" },
      libdirs = { "$(HIREDIS_LIBDIR)" },
      libraries = { "hiredis", "m" },
      defines = { "_GNU_SOURCE" },
    },
    moonq_posix = {
      sources = { "core/runtime/posix.c" },
      incdirs = { "core" },
      libraries = { "m" },
      defines = { "_GNU_SOURCE" },
    },
  },
}
