-- Where the mail goes. The demo writes this file anew with the port it found free.
return {
  host = "127.0.0.1",
  port = 2525,
  from = "Moon Shop <welcome@shop.example>",
}
