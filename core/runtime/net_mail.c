#include "runtime/net_mail.h"

#include <curl/curl.h>
#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

/* Three bytes are four characters; what is missing at the end is '='. */
static void encode_three(char out[4], const unsigned char *in, size_t have)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t)in[0] << 16 | (have > 1 ? (uint32_t)in[1] << 8 : 0) | (have > 2 ? in[2] : 0);
    for (int i = 0; i < 4; i++)
        out[i] = (size_t)i <= have ? digits[bits >> (18 - 6 * i) & 63] : '=';
}

int mail_base64(lua_State *L)
{
    size_t len;
    const unsigned char *bytes = (const unsigned char *)luaL_checklstring(L, 1, &len);
    int columns = luaL_optint(L, 2, 0), column = 0;
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < len; i += 3) {
        char four[4];
        if (columns && column + 4 > columns) {
            luaL_addlstring(&out, "\r\n", 2);
            column = 0;
        }
        encode_three(four, bytes + i, len - i < 3 ? len - i : 3);
        luaL_addlstring(&out, four, 4);
        column += 4;
    }
    luaL_pushresult(&out);
    return 1;
}

int mail_domain(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    char *ascii = NULL;
    CURLU *url = curl_url();
    if (curl_url_set(url, CURLUPART_SCHEME, "smtp", 0) == CURLUE_OK &&
        curl_url_set(url, CURLUPART_HOST, name, 0) == CURLUE_OK)
        curl_url_get(url, CURLUPART_HOST, &ascii, CURLU_PUNYCODE);
    curl_url_cleanup(url);
    lua_pushstring(L, ascii);
    curl_free(ascii);
    return 1;
}

/* Not strftime: its names follow the locale. */
int mail_stamp(lua_State *L)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char text[64];
    unsigned char random[12];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    lua_pushstring(L, text);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return luaL_error(L, "the system has no random bytes");
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    lua_pushstring(L, text);
    return 2;
}
