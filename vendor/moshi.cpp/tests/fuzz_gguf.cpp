// Damaged model files: whatever stands in one, the engine answers with an Error or computes with it.
//
//     fuzz_gguf [inputs = 2000] [seed = 1] [first = 0]
//
// Each input is a small complete model with random but consistent dimensions, then damaged. It is parsed, its
// configuration read, its weights loaded, and what loads is run: a session, a codec stream. Input i of a seed is always
// the same: `fuzz_gguf 1 SEED i` repeats it alone. Run it under AddressSanitizer and UBSan (MOSHI_SANITIZE=ON).
#include "mutate.h"
#include "session/session.h"
#include "temp_file.h"

#include <array>
#include <csignal>
#include <map>

#include <sys/time.h>
#include <unistd.h>

using namespace moshi;
using tiny::Random;

// Present when the program is sanitized.
extern "C" void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t), void (*)(const volatile void *))
    __attribute__((weak));

namespace {

constexpr size_t kMostAtOnce = size_t(2) << 30; // no few kilobytes of file justify an allocation beyond this
constexpr int kHangs = 60;                      // seconds of computing for a few kilobytes

unsigned long long g_seed, g_input;

void tell_input() {
    char text[160];
    const int n =
        std::snprintf(text, sizeof(text), "\nfuzz_gguf: found by input %llu of seed %llu; to repeat it alone: fuzz_gguf 1 %llu %llu\n",
                      g_input, g_seed, g_seed, g_input);
    if (n > 0 && write(2, text, static_cast<size_t>(n)) < 0) {
        _exit(3);
    }
}

void on_signal(int number) {
    tell_input();
    std::signal(number, SIG_DFL);
    std::raise(number);
}

void on_malloc(const volatile void *, size_t n) {
    if (n > kMostAtOnce) {
        std::fprintf(stderr, "fuzz_gguf: an allocation of %zu bytes\n", n);
        std::abort();
    }
}

// Counts what this process computes, not how long others keep it waiting.
void limit_time(int seconds) {
    itimerval limit = {};
    limit.it_value.tv_sec = seconds;
    setitimer(ITIMER_PROF, &limit, nullptr);
}

[[noreturn]] void finding(const std::string & what) {
    std::fprintf(stderr, "fuzz_gguf: %s\n", what.c_str());
    std::abort();
}

tiny::Lm random_lm(Random & r) {
    tiny::Lm c = r.one_in(3) ? tiny::Lm::personaplex() : tiny::Lm();
    if (r.one_in(2)) {
        return c;
    }
    c.n_heads = static_cast<int>(1 + r.below(4));
    c.dim = c.n_heads * 2 * static_cast<int>(1 + r.below(r.one_in(4) ? 33 : 6));
    if (r.one_in(4)) {
        c.dim = 32 * c.n_heads;
    }
    c.n_layers = static_cast<int>(1 + r.below(3));
    c.context = static_cast<int>(4 + r.below(10));
    c.hidden = static_cast<int>(1 + r.below(40));
    c.text_card = static_cast<int>(4 + r.below(20));
    c.card = static_cast<int>(1 + r.below(20));
    c.n_q = static_cast<int>(r.below(6)) & ~(c.model_type == "personaplex" ? 1 : 0);
    c.dep_q =
        c.model_type == "personaplex" ? (r.one_in(2) ? c.n_q : c.n_q / 2) : static_cast<int>(r.below(static_cast<uint64_t>(c.n_q) + 1));
    c.delays.clear();
    for (int s = 0; s <= c.n_q; ++s) {
        c.delays.push_back(static_cast<int32_t>(r.below(r.one_in(8) ? 20 : 3)));
    }
    c.depformer_heads = static_cast<int>(1 + r.below(3));
    c.depformer_dim = c.depformer_heads * 2 * static_cast<int>(1 + r.below(4));
    c.depformer_layers = static_cast<int>(1 + r.below(2));
    c.depformer_hidden = static_cast<int>(1 + r.below(20));
    c.low_rank = r.one_in(3) ? static_cast<int>(1 + r.below(9)) : 0;
    for (int k = 0; r.one_in(3) && k < c.dep_q; ++k) {
        c.schedule.push_back(static_cast<int32_t>(r.below(static_cast<uint64_t>(c.dep_q))));
    }
    if (static_cast<int>(c.schedule.size()) != c.dep_q) {
        c.schedule.clear();
    }
    c.extra_heads = r.one_in(4) ? static_cast<int>(r.below(4)) : 0;
    c.packed = r.one_in(3);
    c.type = r.choice(std::vector<ggml_type>{GGML_TYPE_F32, GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                                             GGML_TYPE_Q5_1});
    if (r.one_in(200)) { // blocks of 256: larger, so seldom
        c.dim = 256;
        c.n_heads = 2;
        c.n_layers = 1;
        c.type = GGML_TYPE_Q4_K;
    }
    return c;
}

tiny::Mimi random_mimi(Random & r) {
    tiny::Mimi c;
    if (r.one_in(2)) {
        return c;
    }
    c.n_filters = static_cast<int>(1 + r.below(4));
    c.compress = static_cast<int>(1 + r.below(static_cast<uint64_t>(c.n_filters)));
    c.ratios.resize(1 + r.below(3));
    for (int32_t & ratio : c.ratios) {
        ratio = static_cast<int32_t>(1 + r.below(4));
    }
    c.n_heads = static_cast<int>(1 + r.below(3));
    c.dimension = c.n_heads * 2 * static_cast<int>(1 + r.below(5));
    c.n_layers = static_cast<int>(r.below(3));
    c.ffn = static_cast<int>(1 + r.below(20));
    c.context = static_cast<int>(4 + r.below(10));
    c.kernel = static_cast<int>(1 + r.below(8));
    c.last_kernel = static_cast<int>(1 + r.below(4));
    c.residual_kernel = static_cast<int>(1 + r.below(4));
    c.n_codebooks = static_cast<int>(1 + r.below(5));
    c.bins = static_cast<int>(1 + r.below(20));
    c.codebook_dim = static_cast<int>(1 + r.below(6));
    c.type = r.choice(std::vector<ggml_type>{GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_Q8_0});
    return c;
}

// The metadata as text lines, as Python gives them for files that hold none; the file loses its own.
std::string take_lines(gguf::File & f) {
    const gguf::Bytes bytes = f.bytes();
    const GgufFile parsed(bytes.data(), bytes.size(), "seed");
    std::string out;
    for (const auto & [key, value] : parsed.metadata().values()) {
        std::string text = Metadata::text(value);
        if (!text.empty() && text.front() == '[') {
            text = text.substr(1, text.size() - 2);
        }
        text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
        out += key + "=" + text + "\n";
    }
    f.keys.clear();
    return out;
}

struct Input {
    gguf::Bytes bytes;
    std::string lines;
};

Input make_input(Random & r, gguf::File file) {
    Input in;
    if (r.one_in(4)) {
        in.lines = take_lines(file);
        for (uint64_t i = r.below(3); i > 0; --i) {
            mutate::damage_text(r, in.lines);
        }
    }
    for (uint64_t i = r.below(3); i > 0; --i) {
        mutate::damage_structure(r, file);
    }
    in.bytes = file.bytes();
    for (uint64_t i = r.one_in(2) ? r.below(4) : 0; i > 0; --i) {
        mutate::damage_bytes(r, in.bytes);
    }
    return in;
}

void run_session(Random & r, const std::shared_ptr<Model> & model) {
    const LmConfig & c = model->lm->config;
    moshi_session_params p = {};
    p.context = r.one_in(3) ? static_cast<int32_t>(8 + r.below(300)) : 0;
    p.kv_type = static_cast<moshi_kv_type>(r.below(4));
    p.flash = r.one_in(2);
    p.window = static_cast<moshi_window>(r.below(3));
    p.temperature = r.one_in(3) ? 0.0f : 0.8f;
    p.text_temperature = r.one_in(3) ? 0.0f : 0.7f;
    p.top_k = static_cast<int32_t>(r.below(30));
    p.text_top_k = static_cast<int32_t>(r.below(30));
    p.taps = r.one_in(4);
    p.depformer_steps = r.one_in(3) ? model->lm->n_steps : 0;
    Session session(model, p);
    std::vector<int32_t> codes(static_cast<size_t>(c.n_user()));
    for (int32_t & code : codes) {
        code = static_cast<int32_t>(r.below(static_cast<uint64_t>(c.card)));
    }
    for (int i = 0; i < 3; ++i) {
        if (const auto tokens = session.step_codes(codes.data(), c.n_user())) {
            for (size_t s = 0; s < tokens->size(); ++s) {
                if ((*tokens)[s] < MOSHI_TOKEN_NONE || (*tokens)[s] > (s == 0 ? c.text_card : c.card)) {
                    finding("a token out of range");
                }
            }
        }
    }
    std::vector<int32_t> prompt(static_cast<size_t>(2 * (1 + c.n_q)));
    for (int32_t & token : prompt) {
        token = static_cast<int32_t>(r.one_in(6) ? mutate::odd_integer(r) : static_cast<int64_t>(r.below(4)));
    }
    std::vector<uint8_t> snapshot = session.save();
    try {
        session.prefill(prompt.data(), nullptr, 2, nullptr);
    } catch (const Error &) { // tokens that the model does not have
    }
    session.restore(snapshot.data(), snapshot.size());
    if (model->mimi && static_cast<size_t>(model->mimi->config.frame_size) < 4096) {
        std::vector<float> pcm(static_cast<size_t>(model->mimi->config.frame_size), 0.1f), out(pcm.size());
        moshi_frame frame;
        session.step(pcm.data(), out.data(), frame);
    }
}

void run_codec(Random & r, const MimiModel & model, Compute & compute) {
    const MimiConfig & c = model.config;
    moshi_mimi_params p = {};
    p.n_codebooks = 1 + static_cast<int32_t>(r.below(static_cast<uint64_t>(c.n_codebooks)));
    p.window = static_cast<moshi_window>(r.below(3));
    p.frames_per_call = r.one_in(3) ? static_cast<int32_t>(1 + r.below(4)) : 1;
    p.taps = r.one_in(4);
    MimiStream stream(model, compute, p);
    const size_t n = static_cast<size_t>(p.frames_per_call);
    std::vector<float> pcm(n * static_cast<size_t>(c.frame_size));
    for (float & sample : pcm) {
        sample = r.real();
    }
    std::vector<int32_t> codes(n * static_cast<size_t>(p.n_codebooks));
    stream.encode(pcm.data(), p.frames_per_call, codes.data());
    for (const int32_t code : codes) {
        if (code < 0 || code >= c.bins) {
            finding("a code out of range");
        }
    }
    stream.decode(codes.data(), p.n_codebooks, p.frames_per_call, pcm.data());
}

void read_all(const GgufFile & file) {
    for (const TensorInfo & t : file.tensors()) {
        if (t.n_elements() < 1 << 16) {
            std::vector<float> values(static_cast<size_t>(t.n_elements()));
            try {
                to_float(file.path(), t, values.data());
            } catch (const Error &) { // a type without values
            }
        }
    }
    for (const auto & [key, value] : file.metadata().values()) {
        Metadata::text(value);
    }
}

// As load_model() does it, with one device for all inputs.
std::shared_ptr<GgufFile> open(const Input & in, const TempFile * place) {
    // An allocation of its own: one byte too far is a finding.
    std::shared_ptr<GgufFile> file;
    if (place) {
        file = std::make_shared<GgufFile>(place->path());
    } else {
        file = std::make_shared<GgufFile>(in.bytes.data(), in.bytes.size(), "input");
    }
    file->metadata().add_lines(in.lines, "lines");
    return file;
}

enum Outcome { kRefused, kRan };

Outcome run_parts(Random & r, const Input & lm, const Input & mimi, std::unique_ptr<Compute> & compute, TempFile & place) {
    const bool codec = r.one_in(2), mapped = r.one_in(2);
    const Input & in = codec ? mimi : lm;
    if (mapped) {
        place.write(in.bytes);
    }
    const auto file = open(in, mapped ? &place : nullptr);
    read_all(*file);
    if (codec) {
        const auto model = load_mimi(file, *compute, r.one_in(2), nullptr);
        run_codec(r, *model, *compute);
        return kRan;
    }
    auto lm_model = load_lm(file, *compute, r.one_in(2), r.one_in(2), nullptr);
    auto model = std::make_shared<Model>();
    model->lm = std::move(lm_model);
    model->compute = std::move(compute);
    struct Return { // the device outlives the model
        Model & from;
        std::unique_ptr<Compute> & to;
        ~Return() { to = std::move(from.compute); }
    } give_back{*model, compute};
    run_session(r, model);
    return kRan;
}

Outcome run_whole(Random & r, const Input & lm, const Input & mimi) {
    const TempFile lm_file(lm.bytes), mimi_file(mimi.bytes);
    moshi_model_params p = {};
    p.device = "cpu";
    p.n_threads = 1;
    p.repack = r.one_in(2);
    p.lm_path = r.one_in(8) ? nullptr : lm_file.c_str();
    p.mimi_path = r.one_in(8) ? nullptr : mimi_file.c_str();
    p.lm_metadata = lm.lines.c_str();
    p.mimi_metadata = mimi.lines.c_str();
    const std::shared_ptr<Model> model = load_model(p);
    if (model->lm) {
        run_session(r, model);
    }
    return kRan;
}

Outcome try_input(uint64_t seed, uint64_t i, std::unique_ptr<Compute> & compute, TempFile & place) {
    Random r(seed * 1000003 + i);
    tiny::Mimi mimi = random_mimi(r);
    const tiny::Lm lm = random_lm(r);
    mimi.bins = r.one_in(4) ? mimi.bins : lm.card; // so that they fit each other, mostly
    mimi.n_codebooks = r.one_in(4) ? mimi.n_codebooks : std::max(mimi.n_codebooks, lm.n_q);
    const Input lm_input = make_input(r, lm.file(r.next())), mimi_input = make_input(r, mimi.file(r.next()));
    try {
        return r.one_in(6) ? run_whole(r, lm_input, mimi_input) : run_parts(r, lm_input, mimi_input, compute, place);
    } catch (const Error & e) {
        if (e.status() < MOSHI_ERROR_ARGUMENT || e.status() >= MOSHI_ERROR_INTERNAL || !*e.what()) {
            finding(std::string("an error of status ") + std::to_string(e.status()) + ": " + e.what());
        }
        return kRefused;
    } catch (const std::exception & e) {
        finding(std::string("an exception that is no Error: ") + e.what());
    }
}

} // namespace

int main(int argc, char ** argv) {
    const auto argument = [&](int i, uint64_t fallback) { return argc > i ? std::strtoull(argv[i], nullptr, 10) : fallback; };
    const uint64_t n = argument(1, 2000), first = argument(3, 0);
    g_seed = argument(2, 1);
    for (const int number : {SIGABRT, SIGPROF, SIGSEGV, SIGFPE, SIGILL}) {
        if (number == SIGABRT || number == SIGPROF || !__sanitizer_set_death_callback) {
            std::signal(number, on_signal);
        }
    }
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(tell_input);
        __sanitizer_install_malloc_and_free_hooks(on_malloc, [](const volatile void *) {});
    }
    auto compute = std::make_unique<Compute>(choose_device("cpu", 0).device, 1);
    TempFile place;
    uint64_t ran = 0;
    for (uint64_t i = first; i < first + n; ++i) {
        g_input = i;
        limit_time(kHangs);
        ran += try_input(g_seed, i, compute, place) == kRan;
    }
    limit_time(0);
    std::printf("fuzz_gguf: %llu inputs of seed %llu: %llu refused, %llu computed\n", (unsigned long long) n, g_seed,
                (unsigned long long) (n - ran), (unsigned long long) ran);
    return EXIT_SUCCESS;
}
