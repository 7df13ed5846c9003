// The C API as a careless caller uses it: NULL everywhere, wrong sizes, handles in use, several threads.
#include "moshi.h"

#include "check.h"
#include "temp_file.h"
#include "tiny_model.h"

#include <atomic>
#include <cstring>
#include <thread>

namespace {

// The status is expected, and the thread's last error holds all words.
void refused(moshi_status status, moshi_status expected, std::initializer_list<std::string> words, const char * file, int line) {
    check::equal(static_cast<int>(status), static_cast<int>(expected), moshi_last_error(), file, line);
    for (const std::string & word : words) {
        if (std::string(moshi_last_error()).find(word) == std::string::npos) {
            check::stop("\"" + word + "\" does not stand in \"" + moshi_last_error() + "\"", file, line);
        }
    }
}
#define REFUSED(call, expected, ...) refused(call, expected, {__VA_ARGS__}, __FILE__, __LINE__)
#define DONE(call) check::equal(static_cast<int>(call), 0, moshi_last_error(), __FILE__, __LINE__)

struct Files {
    tiny::Mimi codec;
    TempFile lm{tiny::Lm().file().bytes()}, mimi{codec.file().bytes()};
};

moshi_model_params model_params(const Files & files) {
    moshi_model_params p = moshi_model_default_params();
    p.lm_path = files.lm.c_str();
    p.mimi_path = files.mimi.c_str();
    p.device = "cpu";
    p.n_threads = 1;
    return p;
}

// A model with a session and a stream, freed in the wrong order on purpose.
struct Handles {
    Files files;
    moshi_model * model = nullptr;
    moshi_session * session = nullptr;
    moshi_mimi * mimi = nullptr;
    Handles() {
        const moshi_model_params p = model_params(files);
        DONE(moshi_model_load(&p, &model));
        const moshi_session_params sp = moshi_session_default_params(model);
        DONE(moshi_session_new(model, &sp, &session));
        const moshi_mimi_params mp = moshi_mimi_default_params(model);
        DONE(moshi_mimi_new(model, &mp, &mimi));
    }
    ~Handles() {
        moshi_model_free(model); // sessions and streams keep it alive
        if (session) {
            const int32_t codes[2] = {0, 1};
            int32_t out[3];
            moshi_session_step_codes(session, codes, 2, out, nullptr);
        }
        moshi_session_free(session);
        moshi_mimi_free(mimi);
    }
};

void freeing_null_is_allowed() {
    moshi_model_free(nullptr);
    moshi_session_free(nullptr);
    moshi_mimi_free(nullptr);
    moshi_gguf_free(nullptr);
}

void null_is_an_argument_error_of_every_function() {
    constexpr moshi_status kArgument = MOSHI_ERROR_ARGUMENT;
    Handles h;
    moshi_model_params mp = model_params(h.files);
    moshi_model * model = nullptr;
    REFUSED(moshi_model_load(nullptr, &model), kArgument, "params is NULL");
    REFUSED(moshi_model_load(&mp, nullptr), kArgument, "out is NULL");
    mp.lm_path = mp.mimi_path = nullptr;
    REFUSED(moshi_model_load(&mp, &model), kArgument, "neither");
    CHECK(model == nullptr);
    moshi_model_info info;
    REFUSED(moshi_model_get_info(nullptr, &info), kArgument, "model");
    REFUSED(moshi_model_get_info(h.model, nullptr), kArgument, "out");
    REFUSED(moshi_device_get(0, nullptr), kArgument, "out");

    moshi_mimi * mimi = nullptr;
    moshi_mimi_params cp = moshi_mimi_default_params(nullptr);
    REFUSED(moshi_mimi_new(nullptr, &cp, &mimi), kArgument, "model");
    REFUSED(moshi_mimi_new(h.model, nullptr, &mimi), kArgument, "params");
    REFUSED(moshi_mimi_new(h.model, &cp, nullptr), kArgument, "out");
    float pcm[8] = {};
    int32_t codes[4] = {};
    size_t n = 0;
    moshi_mimi_params odd = cp;
    const int nonsense = 77;
    std::memcpy(&odd.window, &nonsense, sizeof(nonsense)); // as C callers can
    REFUSED(moshi_mimi_new(h.model, &odd, &mimi), kArgument, "window is 77");
    REFUSED(moshi_mimi_encode(nullptr, pcm, 1, codes), kArgument, "mimi");
    REFUSED(moshi_mimi_encode(h.mimi, nullptr, 1, codes), kArgument, "pcm");
    REFUSED(moshi_mimi_encode(h.mimi, pcm, 1, nullptr), kArgument, "codes");
    REFUSED(moshi_mimi_decode(nullptr, codes, 4, 1, pcm), kArgument, "mimi");
    REFUSED(moshi_mimi_decode(h.mimi, nullptr, 4, 1, pcm), kArgument, "codes");
    REFUSED(moshi_mimi_decode(h.mimi, codes, 4, 1, nullptr), kArgument, "pcm");
    REFUSED(moshi_mimi_reset(nullptr), kArgument, "mimi");
    REFUSED(moshi_mimi_tap(nullptr, "x", nullptr, &n), kArgument, "mimi");
    REFUSED(moshi_mimi_tap(h.mimi, nullptr, nullptr, &n), kArgument, "name");

    moshi_session * session = nullptr;
    const moshi_session_params sp = moshi_session_default_params(nullptr);
    REFUSED(moshi_session_new(nullptr, &sp, &session), kArgument, "model");
    REFUSED(moshi_session_new(h.model, nullptr, &session), kArgument, "params");
    REFUSED(moshi_session_new(h.model, &sp, nullptr), kArgument, "out");
    REFUSED(moshi_session_step(nullptr, pcm, pcm, nullptr), kArgument, "session");
    REFUSED(moshi_session_step(h.session, nullptr, pcm, nullptr), kArgument, "pcm_in");
    REFUSED(moshi_session_step(h.session, pcm, nullptr, nullptr), kArgument, "pcm_out");
    REFUSED(moshi_session_step_codes(nullptr, codes, 2, codes, nullptr), kArgument, "session");
    REFUSED(moshi_session_step_codes(h.session, nullptr, 2, codes, nullptr), kArgument, "user_codes");
    REFUSED(moshi_session_step_codes(h.session, codes, 2, nullptr, nullptr), kArgument, "out_tokens");
    REFUSED(moshi_session_reset(nullptr, 1), kArgument, "session");
    REFUSED(moshi_session_reset_codec(nullptr), kArgument, "session");
    REFUSED(moshi_session_set_sampling(nullptr, 1, 1, 1, 1), kArgument, "session");
    REFUSED(moshi_session_set_seed(nullptr, 1), kArgument, "session");
    REFUSED(moshi_session_force_text(nullptr, 3), kArgument, "session");
    REFUSED(moshi_session_tap(nullptr, "x", nullptr, &n), kArgument, "session");
    REFUSED(moshi_session_tap(h.session, nullptr, nullptr, &n), kArgument, "name");
    REFUSED(moshi_session_prefill(nullptr, codes, nullptr, 1, nullptr, nullptr), kArgument, "session");
    REFUSED(moshi_session_prefill(h.session, nullptr, nullptr, 1, nullptr, nullptr), kArgument, "tokens");
    REFUSED(moshi_session_get_ring(nullptr, codes, nullptr, nullptr), kArgument, "session");
    REFUSED(moshi_session_set_ring(nullptr, codes, 5, 3), kArgument, "session");
    REFUSED(moshi_session_set_ring(h.session, nullptr, 5, 3), kArgument, "tokens");
    REFUSED(moshi_session_save(nullptr, codes, 16, &n), kArgument, "session");
    REFUSED(moshi_session_save(h.session, nullptr, 16, &n), kArgument, "data");
    REFUSED(moshi_session_restore(nullptr, codes, 16), kArgument, "session");
    REFUSED(moshi_session_restore(h.session, nullptr, 16), kArgument, "data");
    CHECK_EQ(moshi_session_offset(nullptr), 0);
    CHECK_EQ(moshi_session_snapshot_size(nullptr), 0u);

    moshi_gguf * file = nullptr;
    moshi_gguf_tensor tensor;
    REFUSED(moshi_gguf_open(nullptr, &file), kArgument, "path");
    REFUSED(moshi_gguf_open(h.files.lm.c_str(), nullptr), kArgument, "out");
    REFUSED(moshi_gguf_get_tensor(nullptr, 0, &tensor), kArgument, "file");
    REFUSED(moshi_gguf_get_key(nullptr, 0, nullptr, nullptr, nullptr), kArgument, "file");
    REFUSED(moshi_gguf_read_f32(nullptr, "x", pcm, 1), kArgument, "file");
    REFUSED(moshi_gguf_read_raw(nullptr, "x", pcm, 1), kArgument, "file");
    CHECK_EQ(moshi_gguf_n_tensors(nullptr), 0);
    CHECK_EQ(moshi_gguf_n_keys(nullptr), 0);
    REFUSED(moshi_quantize("f32", nullptr, "f16", pcm, 4, 1, 2, 1), kArgument, "src");
    REFUSED(moshi_quantize("f32", pcm, "f16", nullptr, 4, 1, 2, 1), kArgument, "dst");
    REFUSED(moshi_quantize(nullptr, pcm, "f16", codes, 4, 1, 2, 1), kArgument, "src_type");
    REFUSED(moshi_quantize("f32", pcm, nullptr, codes, 4, 1, 2, 1), kArgument, "dst_type");
    CHECK_EQ(moshi_row_size(nullptr, 4), 0u);
}

void every_size_is_checked() {
    Handles h;
    std::vector<float> pcm(800);
    std::vector<int32_t> codes(400);
    for (const int32_t n : {0, -1, INT32_MIN}) {
        REFUSED(moshi_mimi_encode(h.mimi, pcm.data(), n, codes.data()), MOSHI_ERROR_ARGUMENT, "frames to encode");
        REFUSED(moshi_mimi_decode(h.mimi, codes.data(), 4, n, pcm.data()), MOSHI_ERROR_ARGUMENT, "frames to decode");
        REFUSED(moshi_mimi_decode(h.mimi, codes.data(), n, 1, pcm.data()), MOSHI_ERROR_ARGUMENT, "codebooks to decode");
        REFUSED(moshi_session_prefill(h.session, codes.data(), nullptr, n, nullptr, nullptr), MOSHI_ERROR_ARGUMENT, "frames");
        REFUSED(moshi_session_step_codes(h.session, codes.data(), n == 0 ? 1 : n, codes.data(), nullptr), MOSHI_ERROR_ARGUMENT,
                "user codes");
    }
    REFUSED(moshi_mimi_decode(h.mimi, codes.data(), 5, 1, pcm.data()), MOSHI_ERROR_ARGUMENT, "5 codebooks");
    REFUSED(moshi_session_set_ring(h.session, codes.data(), 5, 4), MOSHI_ERROR_ARGUMENT, "[5, 4]", "[5, 3]");
    REFUSED(moshi_session_set_ring(h.session, codes.data(), -5, -3), MOSHI_ERROR_ARGUMENT, "token ring");
    size_t n = 0;
    std::vector<uint8_t> data(moshi_session_snapshot_size(h.session));
    REFUSED(moshi_session_save(h.session, data.data(), data.size() - 1, &n), MOSHI_ERROR_ARGUMENT, "room for");
    DONE(moshi_session_save(h.session, data.data(), data.size(), &n));
    CHECK_EQ(n, data.size());
    DONE(moshi_session_restore(h.session, data.data(), n));
    moshi_device_info device;
    REFUSED(moshi_device_get(-1, &device), MOSHI_ERROR_ARGUMENT, "device -1");
    REFUSED(moshi_device_get(moshi_device_count(), &device), MOSHI_ERROR_ARGUMENT, "device");
    CHECK_EQ(moshi_row_size("f32", -1), 0u);
    CHECK_EQ(moshi_row_size("q8_0", 33), 0u);
    CHECK_EQ(moshi_row_size("q8_0", 64), 68u);
    CHECK_EQ(moshi_row_size("no such type", 64), 0u);
}

void taps_are_asked_for_their_size_first() {
    Handles h;
    moshi_session_params p = moshi_session_default_params(h.model);
    p.taps = true;
    moshi_session * session = nullptr;
    DONE(moshi_session_new(h.model, &p, &session));
    const int32_t codes[2] = {1, 2};
    int32_t out[3], n_out = 0;
    DONE(moshi_session_step_codes(session, codes, 2, out, &n_out));
    CHECK_EQ(n_out, 3);
    CHECK_EQ(out[0], MOSHI_TOKEN_NONE); // the delays fill
    size_t n = 0;
    DONE(moshi_session_tap(session, "text_logits", nullptr, &n));
    CHECK_EQ(n, 12u);
    std::vector<float> logits(n);
    size_t less = n - 1;
    REFUSED(moshi_session_tap(session, "text_logits", logits.data(), &less), MOSHI_ERROR_ARGUMENT, "room for 11", "12");
    DONE(moshi_session_tap(session, "text_logits", logits.data(), &n));
    REFUSED(moshi_session_tap(session, "text_logits", logits.data(), nullptr), MOSHI_ERROR_ARGUMENT, "n is NULL");
    REFUSED(moshi_session_tap(session, "no such thing", nullptr, &n), MOSHI_ERROR_ARGUMENT, "no such thing");
    REFUSED(moshi_session_tap(h.session, "text_logits", nullptr, &n), MOSHI_ERROR_ARGUMENT, "taps");
    moshi_session_free(session);
}

// A callback that is called in the middle of a call on the session, to make another one.
struct Inside {
    moshi_session * session;
    moshi_status status = MOSHI_OK;
    std::string text;
};
bool call_inside(float, void * user) {
    auto & inside = *static_cast<Inside *>(user);
    const int32_t codes[2] = {0, 0};
    int32_t out[3];
    inside.status = moshi_session_step_codes(inside.session, codes, 2, out, nullptr);
    inside.text = moshi_last_error();
    return true;
}

void a_session_in_use_refuses_a_second_call() {
    Handles h;
    const std::vector<int32_t> prompt(5 * 4, 1);
    Inside inside{h.session};
    DONE(moshi_session_prefill(h.session, prompt.data(), nullptr, 4, call_inside, &inside));
    CHECK_EQ(static_cast<int>(inside.status), static_cast<int>(MOSHI_ERROR_STATE));
    CHECK(inside.text.find("in use") != std::string::npos);
    CHECK_EQ(moshi_session_offset(h.session), 4); // as if the second call had not been made
}

void threads_that_fight_for_a_session_are_told_so() {
    Handles h;
    std::atomic<int> done{0}, refusals{0}, others{0};
    const auto fight = [&] {
        for (int i = 0; i < 100; ++i) {
            const int32_t codes[2] = {3, 4};
            int32_t out[3];
            switch (moshi_session_step_codes(h.session, codes, 2, out, nullptr)) {
                case MOSHI_OK: ++done; break;
                case MOSHI_ERROR_STATE: ++refusals; break;
                default: ++others;
            }
        }
    };
    std::thread a(fight), b(fight);
    fight();
    a.join();
    b.join();
    CHECK_EQ(others.load(), 0);
    CHECK_EQ(done + refusals, 300);
    CHECK_EQ(moshi_session_offset(h.session), done.load());
}

void the_last_error_is_that_of_the_thread() {
    moshi_gguf * file = nullptr;
    REFUSED(moshi_gguf_open("/no/such/file.gguf", &file), MOSHI_ERROR_FILE, "/no/such/file.gguf");
    std::string elsewhere = "unset";
    std::thread([&] { elsewhere = moshi_last_error(); }).join();
    CHECK_EQ(elsewhere, "");
    CHECK(std::string(moshi_last_error()).find("/no/such/file.gguf") != std::string::npos);
}

void a_load_that_fails_gives_no_model() {
    Files files;
    moshi_model_params p = model_params(files);
    auto * model = reinterpret_cast<moshi_model *>(&p); // not NULL before
    p.device = "no such device";
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_DEVICE, "no such device", "found: cpu");
    CHECK(model == nullptr);
    p = model_params(files);
    p.n_threads = -1;
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_ARGUMENT, "threads");
    p.n_threads = 1 << 20;
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_ARGUMENT, "threads");
    p = model_params(files);
    p.lm_path = "/no/such/model.gguf";
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_FILE, "/no/such/model.gguf");
    p = model_params(files);
    p.lm_path = files.mimi.c_str();
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_FORMAT, "moshi.");
    p = model_params(files);
    p.mimi_path = files.lm.c_str();
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_FORMAT, "mimi.");
    p = model_params(files);
    p.progress = [](float, void *) { return false; };
    REFUSED(moshi_model_load(&p, &model), MOSHI_ERROR_CANCELLED, "cancelled");
}

void a_codec_alone_has_no_sessions_and_a_model_alone_no_sound() {
    Files files;
    moshi_model_params p = model_params(files);
    p.lm_path = nullptr;
    moshi_model * codec = nullptr;
    DONE(moshi_model_load(&p, &codec));
    const moshi_session_params sp = moshi_session_default_params(codec);
    moshi_session * session = nullptr;
    REFUSED(moshi_session_new(codec, &sp, &session), MOSHI_ERROR_ARGUMENT, "language model");
    moshi_model_free(codec);
    p = model_params(files);
    p.mimi_path = nullptr;
    moshi_model * lm = nullptr;
    DONE(moshi_model_load(&p, &lm));
    const moshi_mimi_params mp = moshi_mimi_default_params(lm);
    moshi_mimi * mimi = nullptr;
    REFUSED(moshi_mimi_new(lm, &mp, &mimi), MOSHI_ERROR_STATE, "codec");
    const moshi_session_params lp = moshi_session_default_params(lm);
    DONE(moshi_session_new(lm, &lp, &session));
    float pcm[8] = {};
    REFUSED(moshi_session_step(session, pcm, pcm, nullptr), MOSHI_ERROR_STATE, "no codec");
    moshi_session_free(session);
    moshi_model_free(lm);
}

void files_are_described() {
    Files files;
    moshi_gguf * file = nullptr;
    DONE(moshi_gguf_open(files.lm.c_str(), &file));
    moshi_gguf_tensor tensor;
    DONE(moshi_gguf_get_tensor(file, 0, &tensor));
    CHECK_EQ(std::string(tensor.name), "lm.emb.0.weight");
    CHECK_EQ(tensor.ne[0], 16);
    std::vector<float> values(16 * 11);
    DONE(moshi_gguf_read_f32(file, tensor.name, values.data(), values.size()));
    REFUSED(moshi_gguf_read_f32(file, tensor.name, values.data(), values.size() - 1), MOSHI_ERROR_ARGUMENT, "lm.emb.0.weight");
    REFUSED(moshi_gguf_read_raw(file, tensor.name, values.data(), 3), MOSHI_ERROR_ARGUMENT, "room for 3 bytes");
    REFUSED(moshi_gguf_read_f32(file, "nothing", values.data(), 1), MOSHI_ERROR_FORMAT, "nothing");
    REFUSED(moshi_gguf_get_tensor(file, moshi_gguf_n_tensors(file), &tensor), MOSHI_ERROR_ARGUMENT, "tensor");
    REFUSED(moshi_gguf_get_tensor(file, -1, &tensor), MOSHI_ERROR_ARGUMENT, "tensor -1");
    const char *key = nullptr, *type = nullptr, *value = nullptr;
    DONE(moshi_gguf_get_key(file, 0, &key, &type, &value));
    CHECK_EQ(std::string(key), "general.architecture");
    CHECK_EQ(std::string(value), "moshi");
    DONE(moshi_gguf_get_key(file, 0, nullptr, nullptr, nullptr));
    REFUSED(moshi_gguf_get_key(file, 1000, &key, &type, &value), MOSHI_ERROR_ARGUMENT, "key 1000");
    moshi_gguf_free(file);
}

void rows_are_converted_on_any_number_of_threads() {
    const std::vector<float> rows(7 * 32, 0.25f);
    for (const int32_t threads : {-1, 0, 1, 3, INT32_MAX}) {
        std::vector<uint8_t> out(7 * 34);
        DONE(moshi_quantize("f32", rows.data(), "q8_0", out.data(), out.size(), 7, 32, threads));
        CHECK(std::equal(out.begin(), out.begin() + 34, out.end() - 34));
    }
    std::vector<uint8_t> out(7 * 34);
    REFUSED(moshi_quantize("f32", rows.data(), "q8_0", out.data(), out.size() - 1, 7, 32, 1), MOSHI_ERROR_ARGUMENT, "room for");
    REFUSED(moshi_quantize("f32", rows.data(), "q8_0", out.data(), out.size(), 7, 31, 1), MOSHI_ERROR_ARGUMENT, "multiple of 32");
    REFUSED(moshi_quantize("f32", rows.data(), "q8_0", out.data(), out.size(), INT64_MAX, 32, 1), MOSHI_ERROR_ARGUMENT, "rows");
    REFUSED(moshi_quantize("q8_0", rows.data(), "f32", out.data(), out.size(), 1, 32, 1), MOSHI_ERROR_ARGUMENT, "q8_0");
}

void bandwidth_is_measured_for_every_type() {
    for (const char * type : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_K"}) {
        moshi_bandwidth_result r = {};
        DONE(moshi_bandwidth("cpu", 1, type, moshi_row_size(type, 4096) * 12288, 0.01, &r));
        CHECK(r.median > 0 && r.best >= r.median && r.op_seconds > 0 && r.n_passes >= 3);
        CHECK_EQ(r.n_bytes, moshi_row_size(type, 4096) * 12288);
    }
    moshi_bandwidth_result r = {};
    DONE(moshi_bandwidth("auto", 2, "q4_K", 1, 0.01, &r));
    DONE(moshi_bandwidth("cpu", 2, "kv", 40 << 20, 0.01, &r));
    CHECK_EQ(r.n_bytes, 2 * 2 * 4096 * 2 * 1024u);
    constexpr moshi_status kArgument = MOSHI_ERROR_ARGUMENT;
    REFUSED(moshi_bandwidth(nullptr, 1, "f16", 1, 0.1, &r), kArgument, "device is NULL");
    REFUSED(moshi_bandwidth("cpu", 1, nullptr, 1, 0.1, &r), kArgument, "type is NULL");
    REFUSED(moshi_bandwidth("cpu", 1, "f16", 1, 0.1, nullptr), kArgument, "out is NULL");
    REFUSED(moshi_bandwidth("cpu", 1, "q4_k", 1, 0.1, &r), kArgument, "type is \"q4_k\"", "q4_K");
    REFUSED(moshi_bandwidth("cpu", -1, "f16", 1, 0.1, &r), kArgument, "-1 threads");
    for (const double seconds : {0.0, -1.0, 61.0, std::nan("")}) {
        REFUSED(moshi_bandwidth("cpu", 1, "f16", 1, seconds, &r), kArgument, "seconds");
    }
    REFUSED(moshi_bandwidth("nothing", 1, "f16", 1, 0.1, &r), MOSHI_ERROR_DEVICE, "no device");
}

void features_name_the_backends() {
    CHECK(std::string(moshi_features()).find("cpu:") != std::string::npos);
    CHECK(moshi_features() == moshi_features());
}

void texts_are_never_null() {
    CHECK(moshi_version() && *moshi_version());
    CHECK(moshi_ggml_version() && *moshi_ggml_version());
    CHECK(moshi_last_error() != nullptr);
    CHECK(moshi_default_threads() >= 1);
    CHECK(moshi_device_count() >= 1);
}

} // namespace

int main() {
    return check::run({
        {"freeing NULL is allowed", freeing_null_is_allowed},
        {"NULL is an argument error of every function", null_is_an_argument_error_of_every_function},
        {"every size is checked", every_size_is_checked},
        {"taps are asked for their size first", taps_are_asked_for_their_size_first},
        {"a session in use refuses a second call", a_session_in_use_refuses_a_second_call},
        {"threads that fight for a session are told so", threads_that_fight_for_a_session_are_told_so},
        {"the last error is that of the thread", the_last_error_is_that_of_the_thread},
        {"a load that fails gives no model", a_load_that_fails_gives_no_model},
        {"a codec alone has no sessions, and a model alone no sound", a_codec_alone_has_no_sessions_and_a_model_alone_no_sound},
        {"files are described", files_are_described},
        {"rows are converted on any number of threads", rows_are_converted_on_any_number_of_threads},
        {"bandwidth is measured for every type", bandwidth_is_measured_for_every_type},
        {"features name the backends", features_name_the_backends},
        {"texts are never NULL", texts_are_never_null},
    });
}
