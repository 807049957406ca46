-- "email.send": renders the welcome mail in the reader's language and gives it to the mail server.
--
-- args: { name, email, language }
local smtp = require "moonq.smtp"
local settings = require "settings"
local welcome = require "welcome"

return {
  queue = "mail",
  timeout = "20s",
  attempts = 12,
  retry = "mail", -- retries/mail.lua
  allow = { smtp = { settings.host } },

  run = function(job)
    local mail = welcome.render(job.args)
    -- What goes wrong is an error, and ends this attempt. `retryable` in it says how: while the mail server is down or
    -- busy the retry policy is asked when to try again; an address that it refuses (5xx) becomes a dead letter at once,
    -- with the server's own reason.
    local answer = smtp.send({
      url = ("smtp://%s:%d"):format(settings.host, settings.port),
      from = settings.from,
      to = { { address = job.args.email, name = job.args.name } },
      subject = mail.subject,
      text = mail.text,
      html = mail.html,
      message_id = job.id .. "@shop.example", -- the same at every attempt: a mail that went out twice can be told
    })
    job:log("the server took it: " .. answer.reply)
    return { message_id = answer.message_id }
  end,
}
