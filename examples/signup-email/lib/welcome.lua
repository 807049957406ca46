-- The welcome mail, in the languages of our readers: text and HTML.
local template = require "template"

local welcome = {}

-- subject, greeting, body
local words = {
  en = {
    "Welcome, {{name}}!",
    "Hello {{name}},",
    "your account at Moon Shop is ready. You signed up with {{email}}.",
  },
  es = {
    "¡Hola, {{name}}!",
    "Hola, {{name}}:",
    "tu cuenta en Moon Shop está lista. Te has registrado con {{email}}.",
  },
  fr = {
    "Bienvenue, {{name}} !",
    "Bonjour {{name}},",
    "votre compte Moon Shop est prêt. Vous vous êtes inscrit avec {{email}}.",
  },
  de = {
    "Willkommen, {{name}}!",
    "Hallo {{name}},",
    "dein Konto bei Moon Shop ist bereit. Angemeldet hast du dich mit {{email}}.",
  },
  pl = {
    "Witaj, {{name}}!",
    "Dzień dobry, {{name}}!",
    "Twoje konto w Moon Shop jest gotowe. Adres rejestracji: {{email}}.",
  },
  cs = {
    "Vítejte, {{name}}!",
    "Dobrý den, {{name}},",
    "váš účet v Moon Shopu je připraven. Přihlásili jste se adresou {{email}}.",
  },
  tr = {
    "Hoş geldiniz, {{name}}!",
    "Merhaba {{name}},",
    "Moon Shop hesabınız hazır. Kayıt adresiniz: {{email}}.",
  },
  vi = {
    "Chào mừng {{name}}!",
    "Xin chào {{name}},",
    "tài khoản Moon Shop của bạn đã sẵn sàng. Địa chỉ đăng ký: {{email}}.",
  },
  ru = {
    "Добро пожаловать, {{name}}!",
    "Здравствуйте, {{name}}!",
    "Ваш аккаунт в Moon Shop готов. Адрес регистрации: {{email}}.",
  },
  uk = {
    "Ласкаво просимо, {{name}}!",
    "Вітаємо, {{name}}!",
    "Ваш обліковий запис у Moon Shop готовий. Адреса реєстрації: {{email}}.",
  },
  el = {
    "Καλώς ήρθατε, {{name}}!",
    "Γεια σας {{name}},",
    "ο λογαριασμός σας στο Moon Shop είναι έτοιμος. Εγγραφήκατε με {{email}}.",
  },
  ar = {
    "أهلاً وسهلاً، {{name}}!",
    "مرحباً {{name}}،",
    "حسابك في Moon Shop جاهز. سجّلت بالعنوان {{email}}.",
  },
  he = {
    "ברוכים הבאים, {{name}}!",
    "שלום {{name}},",
    "החשבון שלך ב-Moon Shop מוכן. נרשמת עם הכתובת {{email}}.",
  },
  hi = {
    "स्वागत है, {{name}}!",
    "नमस्ते {{name}},",
    "Moon Shop पर आपका खाता तैयार है। पंजीकृत पता: {{email}}",
  },
  th = {
    "ยินดีต้อนรับ {{name}}!",
    "สวัสดี {{name}}",
    "บัญชี Moon Shop ของคุณพร้อมใช้งานแล้ว คุณลงทะเบียนด้วย {{email}}",
  },
  zh = {
    "歡迎，{{name}}！",
    "{{name}}，您好：",
    "您在 Moon Shop 的帳戶已經可以使用。註冊地址：{{email}}",
  },
  ja = {
    "{{name}}様、ようこそ！",
    "{{name}}様",
    "Moon Shop のアカウントのご用意ができました。登録アドレス：{{email}}",
  },
  ko = {
    "{{name}}님, 환영합니다!",
    "{{name}}님, 안녕하세요.",
    "Moon Shop 계정이 준비되었습니다. 가입 주소: {{email}}",
  },
  ka = {
    "კეთილი იყოს თქვენი მობრძანება, {{name}}!",
    "გამარჯობა, {{name}},",
    "თქვენი ანგარიში Moon Shop-ში მზად არის. მისამართი: {{email}}.",
  },
  hy = {
    "Բարի գալուստ, {{name}}!",
    "Բարև, {{name}},",
    "Ձեր հաշիվը Moon Shop-ում պատրաստ է։ Գրանցման հասցեն՝ {{email}}։",
  },
}

local right_to_left = { ar = true, he = true }

local text_frame = [[
{{greeting}}

{{body}}

Moon Shop
]]

local html_frame = [[
<!doctype html>
<html lang="{{language}}" dir="{{direction}}">
<head><meta charset="utf-8"><title>Moon Shop</title></head>
<body style="font-family: sans-serif">
<p>{{greeting}}</p>
<p>{{body}}</p>
<p><b>Moon Shop</b></p>
</body>
</html>
]]

--- { subject, text, html } for args { name, email, language }.
function welcome.render(args)
  local language = words[args.language] and args.language or "en"
  local subject, greeting, body = unpack(words[language])
  return {
    subject = template.fill(subject, args),
    text = template.fill(text_frame, {
      greeting = template.fill(greeting, args), body = template.fill(body, args),
    }),
    html = template.fill(html_frame, {
      language = language,
      direction = right_to_left[language] and "rtl" or "ltr",
      greeting = template.fill(greeting, args, template.escape),
      body = template.fill(body, args, template.escape),
    }),
  }
end

return welcome
