// SPDX-License-Identifier: Apache-2.0
// Tokens to text as they arrive: whole code points only.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

struct HeddleDecoder {
    const HeddleTokenizer *tokenizer;
    HdBuf text;
    size_t shown;                    // bytes of the text that the last call handed out
};

HeddleDecoder *heddle_decoder_new(const HeddleTokenizer *tokenizer) {
    HeddleDecoder *decoder = hd_xcalloc(1, sizeof *decoder);
    decoder->tokenizer = tokenizer;
    return decoder;
}

void heddle_decoder_free(HeddleDecoder *decoder) {
    if (!decoder) return;
    hd_buf_free(&decoder->text);
    free(decoder);
}

// How many bytes at the end begin a code point without ending it: 0 to 3.
static size_t unfinished(const HdBuf *text) {
    size_t used;
    for (size_t back = HD_MIN(text->len, (size_t)3); back; back--)
        if (hd_utf8_decode(text->data + text->len - back, back, &used) == HD_INCOMPLETE) return back;
    return 0;
}

static void drop_shown(HeddleDecoder *decoder) {
    decoder->text.len -= decoder->shown;
    if (decoder->text.len) memmove(decoder->text.data, decoder->text.data + decoder->shown, decoder->text.len);
    decoder->shown = 0;
}

static const char *show(HeddleDecoder *decoder, size_t len, size_t *out_len) {
    decoder->shown = *out_len = len;
    return len ? decoder->text.data : "";
}

const char *heddle_decoder_push(HeddleDecoder *decoder, int32_t id, size_t *out_len) {
    size_t len;
    const char *bytes = heddle_token_bytes(decoder->tokenizer, id, &len);
    drop_shown(decoder);
    hd_buf_bytes(&decoder->text, bytes, len);
    return show(decoder, decoder->text.len - unfinished(&decoder->text), out_len);
}

const char *heddle_decoder_finish(HeddleDecoder *decoder, size_t *out_len) {
    drop_shown(decoder);
    return show(decoder, decoder->text.len, out_len);
}
