/* moshi.h: full-duplex speech models (Moshi, PersonaPlex, Mimi) on ggml, behind plain C.
 *
 * A conversation is a few calls:
 *
 *     moshi_model_params mp = moshi_model_default_params();
 *     mp.lm_path   = "model-q4_k.gguf";
 *     mp.mimi_path = "mimi.gguf";
 *     moshi_model * model;
 *     if (moshi_model_load(&mp, &model) != MOSHI_OK) { puts(moshi_last_error()); return 1; }
 *
 *     moshi_session_params sp = moshi_session_default_params(model);
 *     moshi_session * session;
 *     moshi_session_new(model, &sp, &session);
 *     for (;;) {                                   // every 80 ms
 *         float mic[1920], speaker[1920];          // 24 kHz mono, [-1, 1]
 *         moshi_frame frame;
 *         moshi_session_step(session, mic, speaker, &frame);
 *     }
 *     moshi_session_free(session);
 *     moshi_model_free(model);
 *
 * Ownership. A *model* holds weights: immutable, shared by any number of sessions and streams, which keep it
 * alive (freeing the model while they live is safe; the memory goes with the last of them). A *session* holds
 * one conversation; a *mimi* stream holds one codec direction pair.
 *
 * Threads. A model may be used from any thread. A session or a mimi stream belongs to one call at a time: a
 * second call that overlaps the first fails with MOSHI_ERROR_STATE and changes nothing. Computations of all
 * sessions of one model share its thread pool and take turns, frame by frame.
 *
 * Errors. Every fallible function returns a moshi_status; moshi_last_error() is the text that belongs to the
 * last failure in the calling thread. No function exits, aborts or prints; messages go to moshi_set_log().
 *
 * Strings are UTF-8 and live as long as the object they were asked of, unless stated otherwise. */
#ifndef MOSHI_H
#define MOSHI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#pragma GCC visibility push(default) /* Windows exports through CMake's WINDOWS_EXPORT_ALL_SYMBOLS */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* [cdef] what follows, up to [end], is also the interface that the Python package reads */

enum {
    MOSHI_MAX_CODEBOOKS = 64, /* most audio streams (n_q) a model may have */
    MOSHI_TOKEN_NONE = -2,    /* "nothing here yet" in an output row of tokens */
    MOSHI_TOKEN_ZERO = -1     /* an input token that contributes a zero vector */
};

typedef enum moshi_status {
    MOSHI_OK = 0,
    MOSHI_ERROR_ARGUMENT = 1,    /* an argument is NULL, out of range or of the wrong size */
    MOSHI_ERROR_FILE = 2,        /* a file cannot be opened or read: missing, a folder, no permission */
    MOSHI_ERROR_FORMAT = 3,      /* a file's content is not what it should be */
    MOSHI_ERROR_DEVICE = 4,      /* no such device, or it failed */
    MOSHI_ERROR_MEMORY = 5,      /* the device or the machine has not enough memory */
    MOSHI_ERROR_UNSUPPORTED = 6, /* well-formed, but not something this build can compute */
    MOSHI_ERROR_STATE = 7,       /* not possible now: in use by another thread, snapshot of another model */
    MOSHI_ERROR_CANCELLED = 8,   /* a progress callback returned false */
    MOSHI_ERROR_INTERNAL = 9     /* a defect of this library */
} moshi_status;

typedef struct moshi_model moshi_model;
typedef struct moshi_session moshi_session;
typedef struct moshi_mimi moshi_mimi;
typedef struct moshi_gguf moshi_gguf;

/* ---- the library -------------------------------------------------------------------------------------- */

const char * moshi_version(void);      /* of this library, e.g. "0.1.0" */
const char * moshi_ggml_version(void);
const char * moshi_last_error(void);   /* of this thread; valid until its next failing call; never NULL */

typedef enum moshi_log_level { MOSHI_LOG_DEBUG = 1, MOSHI_LOG_INFO = 2, MOSHI_LOG_WARN = 3, MOSHI_LOG_ERROR = 4 } moshi_log_level;
typedef void (*moshi_log_callback)(moshi_log_level level, const char * text, void * user);
void moshi_set_log(moshi_log_callback callback, void * user); /* NULL: silence (the default). Any thread may call it. */

int32_t moshi_default_threads(void);   /* physical cores available to this process: affinity and cgroup quota count */

/* ---- devices ------------------------------------------------------------------------------------------ */

typedef struct moshi_device_info {
    char name[64];          /* what moshi_model_params.device takes: "cpu", "cuda", "cuda:1", "vulkan", ... */
    char description[128];  /* the driver's name for it */
    bool is_gpu;
    uint64_t memory_total;  /* bytes; 0 if the driver does not say */
    uint64_t memory_free;
} moshi_device_info;

int32_t moshi_device_count(void); /* 0: not even the CPU; moshi_device_get(0, ...) then says why */
moshi_status moshi_device_get(int32_t index, moshi_device_info * out);
/* What each backend was compiled for and has found in this machine, a line each: "cpu: AVX=1 AVX2=1 FMA=1 ...". Where one
 * of several libraries was chosen for this machine, "variant=haswell" comes first. For people to read; the words are
 * ggml's. "" where moshi_device_count() is 0. */
const char * moshi_features(void);

typedef struct moshi_bandwidth_result {
    double best, median;  /* bytes of weights per second, of the passes that were made */
    double op_seconds;    /* what an operation takes that has next to nothing to compute; a frame has some 1500 */
    uint64_t n_bytes;     /* of weights that a pass went through */
    int32_t n_passes;
} moshi_bandwidth_result;

/* How fast a device gets through weights of a type ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_K"), with the product of
 * matrix and vector that a conversation consists of. The bytes that a frame goes through over this is the time that it
 * takes at least.
 * The type "kv" stands for the keys and values of the past in f16, which attention goes through.
 * device, n_threads: as in moshi_model_params.
 * n_bytes: of weights; 0 for many times what caches hold, but no more than a quarter of the free memory.
 * seconds: of measuring, 0.01 to 60; preparing takes a little, too. */
moshi_status moshi_bandwidth(const char * device, int32_t n_threads, const char * type, uint64_t n_bytes, double seconds,
                             moshi_bandwidth_result * out);

/* ---- model -------------------------------------------------------------------------------------------- */

/* `fraction` runs from 0 to 1. Return false to stop the load (MOSHI_ERROR_CANCELLED). */
typedef bool (*moshi_progress_callback)(float fraction, void * user);

typedef struct moshi_model_params {
    const char * lm_path;       /* GGUF of the language model, or NULL (codec only) */
    const char * mimi_path;     /* GGUF of the Mimi codec, or NULL (tokens only) */
    const char * lm_metadata;   /* for files without metadata: lines "moshi.dim=4096", arrays "moshi.delays=0,0,1"; */
    const char * mimi_metadata; /*   keys are those of config.json, flattened with dots. The file's own keys win. NULL: none */
    const char * device;        /* "auto" or a name from moshi_device_get() */
    int32_t n_threads;          /* CPU threads; 0: moshi_default_threads() */
    bool all_depformer_steps;   /* also load steps whose samples are never used: PersonaPlex's user half (default false) */
    bool repack;                /* CPU: copy weights into the layout of ggml's fastest kernels (default true) */
    moshi_progress_callback progress; /* may be NULL */
    void * progress_user;
} moshi_model_params;

typedef struct moshi_model_info {
    char model_type[32];   /* "moshi", "personaplex", "stt", "tts", ...; "mimi" for a codec alone */
    char device[64];       /* the device in use */
    char device_reason[160]; /* why "auto" chose it; "" if it was asked for by name */
    char weight_type[16];  /* type of most of the language model's bytes, e.g. "q4_K" */
    uint64_t fingerprint;  /* equal for equal weights and hyper-parameters; snapshots and caches are keyed by it */
    uint64_t weight_bytes; /* memory taken by weights */
    bool has_lm, has_mimi;
    int32_t n_threads;
    /* language model; zeros without one */
    int32_t dim, n_layers, n_heads, context;
    int32_t text_card, text_card_out, card;
    int32_t n_q, dep_q;    /* audio streams in all, predicted by the depformer */
    int32_t n_user, n_agent; /* streams expected from the user, and heard from the model */
    int32_t text_padding;       /* id of the "keep silent" text token (3) */
    int32_t delays[65];         /* steps, text first, then n_q audio streams */
    int32_t max_delay;
    int32_t n_extra_heads, extra_head_dim;
    float temperature, text_temperature; /* sampling that the model's authors recommend */
    int32_t top_k, text_top_k;
    /* codec; zeros without one */
    int32_t sample_rate;   /* 24000 Hz */
    int32_t frame_size;    /* 1920 samples: 80 ms */
    int32_t mimi_codebooks, mimi_card, mimi_latent_dim;
    int32_t mimi_context;  /* latents at 25 Hz */
} moshi_model_info;

moshi_model_params moshi_model_default_params(void);
moshi_status moshi_model_load(const moshi_model_params * params, moshi_model ** out);
moshi_status moshi_model_get_info(const moshi_model * model, moshi_model_info * out);
void moshi_model_free(moshi_model * model); /* NULL is allowed, here and in every other _free */

/* ---- codec -------------------------------------------------------------------------------------------- */

/* Which keys a query may attend once the KV ring is full (MODELS.md 6.1). */
typedef enum moshi_window {
    MOSHI_WINDOW_MODERN = 0, /* Kyutai's package: the ring's slots after the whole push */
    MOSHI_WINDOW_LEGACY = 1, /* NVIDIA's fork: one key fewer */
    MOSHI_WINDOW_FULL = 2    /* exactly `context` keys for every query, as trained and as in offline encoding */
} moshi_window;

typedef struct moshi_mimi_params {
    int32_t n_codebooks; /* 1..moshi_model_info.mimi_codebooks; 0: what the language model uses, or all */
    moshi_window window;
    int32_t frames_per_call; /* frames that share one push into the ring, 1 by default; matters to MODERN and LEGACY */
    bool taps;           /* keep intermediates for moshi_mimi_tap() */
} moshi_mimi_params;

moshi_mimi_params moshi_mimi_default_params(const moshi_model * model);
moshi_status moshi_mimi_new(moshi_model * model, const moshi_mimi_params * params, moshi_mimi ** out);
/* pcm: n_frames * frame_size samples. codes: [n_codebooks, n_frames], row-major. n_frames is a multiple of frames_per_call. */
moshi_status moshi_mimi_encode(moshi_mimi * mimi, const float * pcm, int32_t n_frames, int32_t * codes);
/* codes: [n_codebooks, n_frames], row-major, 0 <= code < mimi_card. pcm: n_frames * frame_size samples out. */
moshi_status moshi_mimi_decode(moshi_mimi * mimi, const int32_t * codes, int32_t n_codebooks, int32_t n_frames, float * pcm);
moshi_status moshi_mimi_reset(moshi_mimi * mimi); /* exactly as new */
/* Copies the named intermediate of the last call, channel-fastest [T][C]: enc_seanet, enc_transformer, enc_downsample,
 * dec_latent, dec_upsample, dec_transformer. *n: capacity in floats in, size out; out may be NULL to ask the size. */
moshi_status moshi_mimi_tap(moshi_mimi * mimi, const char * name, float * out, size_t * n);
void moshi_mimi_free(moshi_mimi * mimi);

/* ---- session ------------------------------------------------------------------------------------------ */

typedef enum moshi_kv_type { MOSHI_KV_F16 = 0, MOSHI_KV_F32 = 1, MOSHI_KV_Q8_0 = 2, MOSHI_KV_BF16 = 3 } moshi_kv_type;

typedef struct moshi_session_params {
    int32_t context;          /* KV ring length in frames of 80 ms; 0: the model's */
    moshi_kv_type kv_type;
    bool flash;               /* fused attention where the device has it (default true); false: plain matrix products,
                                 which with kv_type BF16 round exactly as engines do that keep keys and values so */
    moshi_window window;      /* of the temporal transformer and of the session's codec */
    uint64_t seed;            /* of the session's random numbers: one seed, one conversation (on one device type) */
    float temperature;        /* audio; 0: greedy */
    float text_temperature;
    int32_t top_k;            /* audio; 0: all */
    int32_t text_top_k;
    int32_t depformer_steps;  /* steps computed per frame; 0: those whose result is used (8 of PersonaPlex's 16) */
    bool taps;                /* keep intermediates for moshi_session_tap() */
} moshi_session_params;

typedef struct moshi_frame {
    int32_t text_token;       /* aligned with the audio; MOSHI_TOKEN_NONE while the delays fill */
    int32_t n_codes;          /* valid entries of codes; 0 while the delays fill */
    int32_t codes[64];        /* the model's audio codes of this frame */
    int32_t n_user_codes;
    int32_t user_codes[64];   /* what the codec heard */
    float encode_ms, lm_ms, decode_ms; /* wall time */
} moshi_frame;

moshi_session_params moshi_session_default_params(const moshi_model * model);
moshi_status moshi_session_new(moshi_model * model, const moshi_session_params * params, moshi_session ** out);
/* One frame of 80 ms: frame_size samples in, frame_size samples out (zeros while the delays fill). Needs a codec. */
moshi_status moshi_session_step(moshi_session * session, const float * pcm_in, float * pcm_out, moshi_frame * frame);
/* One frame of tokens: n_user codes in; out_tokens[1 + dep_q] (text first), all MOSHI_TOKEN_NONE while the delays fill.
 * PersonaPlex returns n_q = 16 audio tokens of which the user's 8 are echoed. out_n: entries written. */
moshi_status moshi_session_step_codes(moshi_session * session, const int32_t * user_codes, int32_t n_user, int32_t * out_tokens,
                                      int32_t * out_n);
moshi_status moshi_session_reset(moshi_session * session, uint64_t seed); /* exactly as new, with this seed */
moshi_status moshi_session_reset_codec(moshi_session * session);          /* codec state only */
moshi_status moshi_session_set_sampling(moshi_session * session, float temperature, int32_t top_k, float text_temperature,
                                        int32_t text_top_k);
moshi_status moshi_session_set_seed(moshi_session * session, uint64_t seed); /* of what comes from now on */
/* Experimental. The text token of the next frame that is computed is this one, 0 to text_card - 1, and not a sample: the
 * depformer speaks accordingly, as far as the model follows its own words. Nothing else changes: frames after it draw
 * the random numbers that they would have drawn. One token a frame: call it before every frame that shall be forced;
 * a second call replaces the first, MOSHI_TOKEN_NONE takes it back. Snapshots hold it, a reset forgets it. The token
 * comes out in moshi_frame.text_token when its audio does, after the delays (one frame later with Moshi's). */
moshi_status moshi_session_force_text(moshi_session * session, int32_t token);
int64_t moshi_session_offset(const moshi_session * session); /* frames since the start, prompt included */
/* Copies the named intermediate of the last step: lm_input [1 + n_q] (tokens as floats), transformer_out [T][dim],
 * text_logits [text_card_out], depformer_logits [steps][card], extra_heads [n][dim], and the codec's (moshi_mimi_tap). */
moshi_status moshi_session_tap(moshi_session * session, const char * name, float * out, size_t * n);
void moshi_session_free(moshi_session * session);

/* Prompt of one frame with everything known (MODELS.md 3.3): n frames are run in batches, without depformer.
 * tokens: [n][1 + n_q] as given to one step each: text, the model's audio codes, the user's codes; MOSHI_TOKEN_NONE
 * where a stream is not provided (refused if the model would have to guess it).
 * embeddings: NULL, or [n][dim] that replace the summed input embedding of each frame (a PersonaPlex voice). */
moshi_status moshi_session_prefill(moshi_session * session, const int32_t * tokens, const float * embeddings, int32_t n,
                                   moshi_progress_callback progress, void * progress_user);
/* The token ring [1 + n_q][length]: replaced after voice embeddings (voice file key "cache"). */
moshi_status moshi_session_get_ring(const moshi_session * session, int32_t * tokens, int32_t * n_streams, int32_t * length);
moshi_status moshi_session_set_ring(moshi_session * session, const int32_t * tokens, int32_t n_streams, int32_t length);

/* Snapshots: everything that decides how a conversation goes on. A snapshot fits sessions of the same model
 * fingerprint with the same context, kv_type and window, of the same snapshot version. */
size_t moshi_session_snapshot_size(moshi_session * session);
moshi_status moshi_session_save(moshi_session * session, void * data, size_t size, size_t * written);
moshi_status moshi_session_restore(moshi_session * session, const void * data, size_t size);

/* ---- GGUF files and quantisation ---------------------------------------------------------------------- */

typedef struct moshi_gguf_tensor {
    char name[64];
    char type[16];       /* "f32", "q4_K", ... */
    int32_t n_dims;
    int64_t ne[4];       /* ggml order: fastest first */
    uint64_t n_bytes;
    uint64_t file_offset;
} moshi_gguf_tensor;

moshi_status moshi_gguf_open(const char * path, moshi_gguf ** out);
int64_t moshi_gguf_n_tensors(const moshi_gguf * file);
int64_t moshi_gguf_n_keys(const moshi_gguf * file);
moshi_status moshi_gguf_get_tensor(const moshi_gguf * file, int64_t index, moshi_gguf_tensor * out);
moshi_status moshi_gguf_get_key(const moshi_gguf * file, int64_t index, const char ** key, const char ** type, const char ** value);
/* Converts a tensor to f32 (quantised, f16, bf16) or copies integers bit by bit (i32, i64); n must match. */
moshi_status moshi_gguf_read_f32(const moshi_gguf * file, const char * name, float * out, size_t n);
moshi_status moshi_gguf_read_raw(const moshi_gguf * file, const char * name, void * out, size_t n_bytes);
void moshi_gguf_free(moshi_gguf * file);

/* Bytes of one row of n values of that type ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_K"); 0 if it cannot be stored so. */
size_t moshi_row_size(const char * type, int64_t n);
/* Converts rows of src_type ("f32", "f16", "bf16") to dst_type, on n_threads threads. */
moshi_status moshi_quantize(const char * src_type, const void * src, const char * dst_type, void * dst, size_t dst_size, int64_t n_rows,
                            int64_t n_per_row, int32_t n_threads);

/* [end] */

#ifdef __cplusplus
}
#endif

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
