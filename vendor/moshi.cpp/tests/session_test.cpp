// Sessions on tiny models: they repeat, they do not disturb each other, they can be saved and told their past.
#include "session/session.h"

#include "check.h"
#include "temp_file.h"
#include "tiny_model.h"

#include <algorithm>
#include <limits>
#include <thread>

using namespace moshi;

namespace {

std::shared_ptr<Model> load(const tiny::Lm & lm, const tiny::Mimi * mimi = nullptr, bool all_steps = false) {
    const TempFile lm_file(lm.file().bytes()), mimi_file(mimi ? mimi->file().bytes() : gguf::Bytes{0});
    moshi_model_params p = {};
    p.lm_path = lm_file.c_str();
    p.mimi_path = mimi ? mimi_file.c_str() : nullptr;
    p.device = "cpu";
    p.n_threads = 1;
    p.repack = true;
    p.all_depformer_steps = all_steps;
    return load_model(p);
}

moshi_session_params params(float temperature = 0.8f) {
    moshi_session_params p = {};
    p.kv_type = MOSHI_KV_F32;
    p.flash = true;
    p.seed = 11;
    p.temperature = p.text_temperature = temperature;
    p.top_k = p.text_top_k = 5;
    return p;
}

using Tokens = std::vector<std::vector<int32_t>>; // empty where a step returned nothing

// `n` steps with user codes that depend on the frame's number alone.
Tokens talk(Session & session, int n, int first = 0) {
    const LmConfig & c = session.model().lm->config;
    Tokens out;
    for (int i = first; i < first + n; ++i) {
        std::vector<int32_t> codes;
        for (int k = 0; k < c.n_user(); ++k) {
            codes.push_back((7 * i + 3 * k) % c.card);
        }
        out.push_back(session.step_codes(codes.data(), c.n_user()).value_or(std::vector<int32_t>()));
    }
    return out;
}

const std::vector<tiny::Lm> & models() {
    static const std::vector<tiny::Lm> all = [] {
        tiny::Lm stt, low_rank, packed, delayed;
        stt.dep_q = 0;
        stt.model_type = "stt";
        stt.extra_heads = 2;
        low_rank.low_rank = 3;
        low_rank.dep_q = 4;
        low_rank.schedule = {0, 1, 1, 1};
        packed.packed = true;
        delayed.delays = {2, 0, 5, 1, 3};
        return std::vector<tiny::Lm>{tiny::Lm(), tiny::Lm::personaplex(), stt, low_rank, packed, delayed};
    }();
    return all;
}

void tokens_are_those_that_the_model_has() {
    for (const tiny::Lm & lm : models()) {
        Session session(load(lm), params());
        const Tokens tokens = talk(session, 20);
        CHECK(tokens.front().empty());
        for (const std::vector<int32_t> & frame : tokens) {
            for (size_t s = 0; s < frame.size(); ++s) {
                CHECK(frame[s] >= 0 && frame[s] < (s == 0 ? lm.text_card : lm.card));
            }
        }
        CHECK_EQ(tokens.back().size(), static_cast<size_t>(1 + (lm.model_type == "personaplex" ? lm.n_q : lm.dep_q)));
    }
}

void a_session_goes_on_past_its_context() {
    moshi_session_params p = params();
    p.context = 8;
    Session session(load(tiny::Lm()), p); // ring of 256 slots
    CHECK_EQ(talk(session, 600).back().size(), 3u);
}

void a_seed_repeats_a_conversation() {
    const auto model = load(tiny::Lm());
    Session a(model, params()), b(model, params());
    moshi_session_params other = params();
    other.seed = 12;
    Session c(model, other);
    const Tokens expected = talk(a, 30);
    CHECK(talk(b, 30) == expected);
    CHECK(talk(c, 30) != expected);
}

void a_reset_session_is_as_new() {
    for (const tiny::Lm & lm : models()) {
        const auto model = load(lm);
        Session a(model, params()), b(model, params());
        talk(a, 13, 100);
        a.reset(11);
        CHECK(talk(a, 30) == talk(b, 30));
    }
}

void two_threads_get_what_each_would_get_alone() {
    const auto model = load(tiny::Lm());
    Session alone(model, params());
    const Tokens expected = talk(alone, 200);
    Tokens a, b;
    Session first(model, params()), second(model, params());
    std::thread other([&] { a = talk(first, 200); });
    b = talk(second, 200);
    other.join();
    CHECK(a == expected);
    CHECK(b == expected);
}

void depformer_steps_that_nobody_hears_change_nothing() {
    const auto model = load(tiny::Lm::personaplex(), nullptr, true);
    moshi_session_params p = params();
    Session half(model, p);
    p.depformer_steps = 4;
    Session all(model, p);
    CHECK(talk(half, 40) == talk(all, 40));
}

void packed_projections_are_those_of_the_single_ones() {
    // One random generator fills both in another order, so the same weights are laid out by hand.
    tiny::Lm lm;
    gguf::File split = lm.file(), packed = split;
    for (const std::string projection : {"in_proj", "out_proj"}) {
        const std::string stem = "lm.depformer.layers.0.self_attn." + projection;
        gguf::Tensor joined = *split.find_tensor(stem + "s.0.weight");
        const gguf::Tensor & second = *split.find_tensor(stem + "s.1.weight");
        joined.name = stem + (projection == "in_proj" ? "_weight" : ".weight");
        joined.ne[1] *= 2;
        joined.data.insert(joined.data.end(), second.data.begin(), second.data.end());
        packed.tensors.erase(std::remove_if(packed.tensors.begin(), packed.tensors.end(),
                                            [&](const gguf::Tensor & t) { return t.name.rfind(stem + "s.", 0) == 0; }),
                             packed.tensors.end());
        packed.tensors.push_back(joined);
    }
    Tokens out[2];
    int i = 0;
    for (const gguf::File & f : {split, packed}) {
        const TempFile file(f.bytes());
        moshi_model_params p = {};
        p.lm_path = file.c_str();
        p.device = "cpu";
        p.n_threads = 1;
        Session session(load_model(p), params());
        out[i++] = talk(session, 30);
    }
    CHECK(out[0] == out[1]);
}

void a_restored_session_goes_on_as_it_would_have() {
    for (const tiny::Lm & lm : models()) {
        const auto model = load(lm);
        for (const int before : {0, 1, 5, 300}) {
            Session a(model, params()), b(model, params());
            talk(a, before);
            const std::vector<uint8_t> snapshot = a.save();
            CHECK_EQ(snapshot.size(), a.snapshot_size());
            talk(b, 3, 50);
            b.restore(snapshot.data(), snapshot.size());
            CHECK(talk(a, 20, before) == talk(b, 20, before));
        }
    }
}

int32_t forced_token(const LmConfig & c, int i) { return (3 + 5 * i) % c.text_card; }

// As talk(), with the text tokens of the frames from `from` up to `to` forced.
Tokens talk_forced(Session & session, int n, int from, int to) {
    Tokens out;
    for (int i = 0; i < n; ++i) {
        if (i >= from && i < to) {
            session.force_text(forced_token(session.model().lm->config, i));
        }
        out.push_back(talk(session, 1, i).front());
    }
    return out;
}

void a_forced_text_token_is_said_and_heard() {
    for (const tiny::Lm & lm : models()) {
        moshi_session_params p = params();
        p.taps = true;
        Session session(load(lm), p);
        const LmConfig & c = session.model().lm->config;
        const bool fork = c.personaplex(); // whose first call computes nothing, so that a token waits for the second
        const int lag = c.max_delay - c.delays[0];
        std::vector<int32_t> said, forced;
        for (int i = 0; i < 30; ++i) {
            session.force_text(forced_token(c, i));
            const std::vector<int32_t> frame = talk(session, 1, i).front();
            if (!fork || i > 0) {
                forced.push_back(forced_token(c, i));
                if (forced.size() >= 2 && i > c.delays[0] + 1) { // it is what the model is fed next
                    CHECK_EQ(session.tap("lm_input")[0], static_cast<float>(forced[forced.size() - 2]));
                }
            }
            if (!frame.empty()) {
                said.push_back(frame[0]);
            }
        }
        CHECK(said.size() > 20);
        CHECK(std::equal(said.rbegin(), said.rbegin() + 20, forced.rbegin() + lag));
    }
}

void frames_before_a_forced_one_are_untouched_and_it_decides_those_after() {
    for (const tiny::Lm & lm : {tiny::Lm(), tiny::Lm::personaplex()}) {
        const auto model = load(lm);
        const int lag = model->lm->config.max_delay;
        Session free(model, params()), forced(model, params()), again(model, params());
        const Tokens expected = talk(free, 30), found = talk_forced(forced, 30, 10, 13);
        CHECK(std::equal(expected.begin(), expected.begin() + 10, found.begin()));
        for (int i = 10; i < 13; ++i) {
            CHECK_EQ(found[i + lag][0], forced_token(model->lm->config, i));
        }
        CHECK(found != expected);
        CHECK(found == talk_forced(again, 30, 10, 13));
    }
}

// The noise is a function of seed and frame alone, so forcing what would have been sampled anyway changes nothing.
void forcing_the_sampled_tokens_changes_nothing() {
    for (const tiny::Lm & lm : {tiny::Lm(), tiny::Lm::personaplex()}) {
        const auto model = load(lm);
        const int lag = model->lm->config.max_delay;
        Session free(model, params()), forced(model, params());
        const Tokens expected = talk(free, 40);
        Tokens found;
        for (int i = 0; i < 40; ++i) {
            if (i >= 5 && i < 35) {
                forced.force_text(expected[i + lag][0]);
            }
            found.push_back(talk(forced, 1, i).front());
        }
        CHECK(found == expected);
    }
}

void a_token_to_be_forced_is_part_of_a_snapshot_and_can_be_taken_back() {
    for (const tiny::Lm & lm : {tiny::Lm(), tiny::Lm::personaplex()}) {
        const auto model = load(lm);
        Session a(model, params()), b(model, params()), free(model, params());
        talk(a, 5);
        talk(free, 5);
        const std::vector<uint8_t> before = a.save();
        a.force_text(7);
        const std::vector<uint8_t> snapshot = a.save();
        b.force_text(8); // replaced with the rest
        b.restore(snapshot.data(), snapshot.size());
        const Tokens expected = talk(a, 20, 5);
        CHECK(talk(b, 20, 5) == expected);
        b.force_text(7);
        b.restore(before.data(), before.size());
        const Tokens unforced = talk(free, 20, 5);
        CHECK(talk(b, 20, 5) == unforced);
        a.restore(before.data(), before.size());
        a.force_text(7);
        a.force_text(MOSHI_TOKEN_NONE);
        CHECK(talk(a, 20, 5) == unforced);
        a.force_text(7);
        a.reset(11);
        free.reset(11);
        CHECK(talk(a, 20) == talk(free, 20));
    }
}

void text_tokens_that_the_model_lacks_are_not_forced() {
    const auto model = load(tiny::Lm());
    Session session(model, params());
    const int card = model->lm->config.text_card;
    for (const int32_t token : {card, card + 1, -1, -3, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
        CHECK_FAILS(session.force_text(token), MOSHI_ERROR_ARGUMENT, "text token " + std::to_string(token), std::to_string(card - 1));
    }
    session.force_text(card - 1);
}

bool refuses(Session & session, const std::vector<uint8_t> & snapshot) {
    try {
        session.restore(snapshot.data(), snapshot.size());
    } catch (const Error &) {
        return true;
    }
    return false;
}

void a_damaged_snapshot_is_refused_and_changes_nothing() {
    const tiny::Mimi mimi;
    const auto model = load(tiny::Lm(), &mimi);
    Session a(model, params()), untouched(model, params());
    talk(a, 6);
    talk(untouched, 4, 30);
    const std::vector<uint8_t> snapshot = a.save();
    Session b(model, params());
    talk(b, 4, 30);
    for (size_t n = 0; n < snapshot.size(); n += n < 256 ? 1 : 997) {
        CHECK_FAILS(b.restore(snapshot.data(), n), MOSHI_ERROR_FORMAT, "snapshot");
    }
    for (size_t at = 0; at < snapshot.size(); at += at < 256 ? 1 : 997) {
        std::vector<uint8_t> damaged = snapshot;
        damaged[at] ^= 0x40;
        Session fresh(model, params());
        CHECK(refuses(fresh, damaged));
    }
    CHECK(talk(b, 10) == talk(untouched, 10));
}

void a_snapshot_fits_its_model_and_settings_alone() {
    const auto model = load(tiny::Lm());
    Session a(model, params());
    talk(a, 3);
    const std::vector<uint8_t> snapshot = a.save();
    tiny::Lm other;
    other.context = 9;
    Session of_another_model(load(other), params());
    CHECK_FAILS(of_another_model.restore(snapshot.data(), snapshot.size()), MOSHI_ERROR_STATE, "another model");
    moshi_session_params p = params();
    p.context = 20;
    Session longer(model, p);
    CHECK_FAILS(longer.restore(snapshot.data(), snapshot.size()), MOSHI_ERROR_STATE, "context");
    p = params();
    p.kv_type = MOSHI_KV_F16;
    Session narrower(model, p);
    CHECK_FAILS(narrower.restore(snapshot.data(), snapshot.size()), MOSHI_ERROR_STATE, "KV type");
    p = params();
    p.window = MOSHI_WINDOW_LEGACY;
    Session legacy(model, p);
    CHECK_FAILS(legacy.restore(snapshot.data(), snapshot.size()), MOSHI_ERROR_STATE, "window");
}

// Prompt frames with every stream given.
std::vector<int32_t> prompt(const LmConfig & c, int n) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < n; ++i) {
        for (int s = 0; s <= c.n_q; ++s) {
            tokens.push_back((5 * i + s) % (s == 0 ? c.text_card : c.card));
        }
    }
    return tokens;
}

void a_prompt_at_once_is_a_prompt_frame_by_frame() {
    for (const tiny::Lm & lm : {tiny::Lm(), tiny::Lm::personaplex()}) {
        const auto model = load(lm);
        const LmConfig & c = model->lm->config;
        constexpr int n = 150; // more than one batch
        const std::vector<int32_t> tokens = prompt(c, n);
        moshi_session_params p = params();
        p.taps = true;
        Session batched(model, p), single(model, p);
        batched.prefill(tokens.data(), nullptr, n, nullptr);
        std::vector<float> hidden;
        for (int i = 0; i < n; ++i) {
            single.prefill(tokens.data() + i * (1 + c.n_q), nullptr, 1, nullptr);
        }
        CHECK_EQ(batched.ring().offset(), single.ring().offset());
        CHECK(batched.ring().tokens() == single.ring().tokens());
        std::vector<float> of_batched, of_single;
        for (int i = 0; i < 5; ++i) { // what comes after is computed from the same past
            CHECK(talk(batched, 1, i) == talk(single, 1, i));
            of_batched = batched.tap("transformer_out");
            of_single = single.tap("transformer_out");
            CHECK_EQ(of_batched.size(), static_cast<size_t>(c.dim));
            for (size_t d = 0; d < of_single.size(); ++d) {
                CHECK(std::fabs(of_batched[d] - of_single[d]) <= 1e-4f);
            }
        }
    }
}

void a_prompt_cannot_be_guessed() {
    const auto model = load(tiny::Lm::personaplex());
    Session session(model, params());
    const LmConfig & c = model->lm->config;
    std::vector<int32_t> tokens = prompt(c, 5);
    tokens[static_cast<size_t>(3 * (1 + c.n_q))] = MOSHI_TOKEN_NONE;
    CHECK_FAILS(session.prefill(tokens.data(), nullptr, 5, nullptr), MOSHI_ERROR_ARGUMENT, "stream 0", "frame 3");
    CHECK_EQ(session.ring().offset(), 0);
    tokens = prompt(c, 5);
    tokens[2] = c.card + 1;
    CHECK_FAILS(session.prefill(tokens.data(), nullptr, 5, nullptr), MOSHI_ERROR_ARGUMENT, "stream 2", "frame 0");
    std::vector<float> embeddings(static_cast<size_t>(5 * c.dim), 0.1f);
    embeddings[static_cast<size_t>(2 * c.dim)] = std::numeric_limits<float>::quiet_NaN();
    CHECK_FAILS(session.prefill(prompt(c, 5).data(), embeddings.data(), 5, nullptr), MOSHI_ERROR_ARGUMENT, "embedding 2");
}

void a_cancelled_prompt_leaves_no_trace() {
    const auto model = load(tiny::Lm::personaplex());
    Session a(model, params()), b(model, params());
    const std::vector<int32_t> tokens = prompt(model->lm->config, 200);
    a.prefill(tokens.data(), nullptr, 4, nullptr);
    b.prefill(tokens.data(), nullptr, 4, nullptr);
    CHECK_FAILS(a.prefill(tokens.data(), nullptr, 200, [](float) { return false; }), MOSHI_ERROR_CANCELLED, "cancelled");
    CHECK(talk(a, 20, 4) == talk(b, 20, 4));
}

void wrong_user_codes_leave_no_trace() {
    const auto model = load(tiny::Lm());
    Session a(model, params()), b(model, params());
    talk(a, 4);
    talk(b, 4);
    const std::vector<int32_t> high = {0, 10}, low = {-1, 0}, good = {0, 0, 0};
    CHECK_FAILS(a.step_codes(high.data(), 2), MOSHI_ERROR_ARGUMENT, "user code 10", "codebook 1", "0 to 9");
    CHECK_FAILS(a.step_codes(low.data(), 2), MOSHI_ERROR_ARGUMENT, "user code -1", "codebook 0");
    CHECK_FAILS(a.step_codes(good.data(), 3), MOSHI_ERROR_ARGUMENT, "3 user codes", "expects 2");
    CHECK(talk(a, 20, 4) == talk(b, 20, 4));
}

void every_kv_type_and_window_runs() {
    tiny::Lm lm;
    lm.dim = 64; // heads of 32 channels: whole blocks of q8_0
    const auto model = load(lm);
    for (const moshi_kv_type type : {MOSHI_KV_F16, MOSHI_KV_F32, MOSHI_KV_Q8_0, MOSHI_KV_BF16}) {
        for (const moshi_window window : {MOSHI_WINDOW_MODERN, MOSHI_WINDOW_LEGACY, MOSHI_WINDOW_FULL}) {
            for (const bool flash : {true, false}) {
                moshi_session_params p = params();
                p.kv_type = type;
                p.window = window;
                p.flash = flash;
                Session session(model, p);
                CHECK_EQ(talk(session, 12).back().size(), 3u);
            }
        }
    }
}

// As C callers can.
template <typename Enum> void set_int(Enum & e, int value) { std::memcpy(&e, &value, sizeof(e)); }

void settings_that_cannot_be_are_refused() {
    const auto model = load(tiny::Lm());
    const auto refused = [&](auto change, const char * word) {
        moshi_session_params p = params();
        change(p);
        CHECK_FAILS(Session(model, p), MOSHI_ERROR_ARGUMENT, word);
    };
    using P = moshi_session_params;
    refused([](P & p) { p.context = -1; }, "context");
    refused([](P & p) { p.context = 7; }, "context");
    refused([](P & p) { p.context = INT32_MAX; }, "context");
    refused([](P & p) { set_int(p.kv_type, 9); }, "kv_type");
    refused([](P & p) { set_int(p.window, -1); }, "window");
    refused([](P & p) { p.temperature = -1; }, "temperature");
    refused([](P & p) { p.text_temperature = std::numeric_limits<float>::quiet_NaN(); }, "temperature");
    refused([](P & p) { p.top_k = -1; }, "top-k");
    refused([](P & p) { p.depformer_steps = 1; }, "depformer_steps");
    refused([](P & p) { p.depformer_steps = 3; }, "depformer_steps");
    moshi_session_params p = params();
    p.kv_type = MOSHI_KV_Q8_0;
    CHECK_FAILS(Session(model, p), MOSHI_ERROR_UNSUPPORTED, "q8_0", "multiple of 32", "8");
}

void many_layers_have_room_in_the_graph() {
    tiny::Lm lm;
    lm.n_layers = 120;
    lm.dep_q = 4;
    lm.depformer_layers = 30;
    const auto model = load(lm);
    for (const bool flash : {true, false}) {
        moshi_session_params p = params();
        p.flash = flash;
        p.taps = true;
        Session session(model, p);
        CHECK_EQ(talk(session, 3).back().size(), 5u);
    }
}

void sound_goes_in_and_comes_out() {
    const tiny::Mimi mimi;
    const auto model = load(tiny::Lm(), &mimi);
    Session a(model, params()), b(model, params());
    std::vector<float> pcm(static_cast<size_t>(mimi.frame_size())), out_a(pcm.size()), out_b(pcm.size());
    moshi_frame frame_a, frame_b;
    tiny::Random random(5);
    for (int i = 0; i < 40; ++i) {
        for (float & x : pcm) {
            x = 0.5f * random.real();
        }
        a.step(pcm.data(), out_a.data(), frame_a);
        b.step(pcm.data(), out_b.data(), frame_b);
        CHECK(out_a == out_b);
        CHECK_EQ(frame_a.n_user_codes, 2);
        CHECK_EQ(frame_a.n_codes, i == 0 ? 0 : 2);
    }
    const std::vector<uint8_t> snapshot = a.save();
    Session c(model, params());
    c.restore(snapshot.data(), snapshot.size());
    a.step(pcm.data(), out_a.data(), frame_a);
    c.step(pcm.data(), out_b.data(), frame_b);
    CHECK(out_a == out_b);
    pcm[3] = std::numeric_limits<float>::quiet_NaN();
    CHECK_FAILS(a.step(pcm.data(), out_a.data(), frame_a), MOSHI_ERROR_ARGUMENT, "sample 3");
}

void damaged_weights_are_noticed_in_the_sound() {
    gguf::File f = tiny::Mimi().file();
    gguf::Tensor & t = *f.find_tensor("mimi.decoder.model.0.conv.conv.weight");
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(t.data.data(), &nan, sizeof(nan));
    const TempFile file(f.bytes());
    moshi_model_params p = {};
    p.mimi_path = file.c_str();
    p.device = "cpu";
    p.n_threads = 1;
    const auto model = load_model(p);
    MimiStream stream(*model->mimi, *model->compute, moshi_mimi_params{4, MOSHI_WINDOW_MODERN, 1, false});
    const std::vector<int32_t> codes(4, 1);
    std::vector<float> pcm(8);
    CHECK_FAILS(stream.decode(codes.data(), 4, 1, pcm.data()), MOSHI_ERROR_FORMAT, file.path(), "not a number", "damaged");
}

void frames_per_call_fit_the_codecs_context() {
    const tiny::Mimi mimi; // a context of 8 latents, 2 a frame
    const auto model = load(tiny::Lm(), &mimi);
    const auto stream = [&](int frames, moshi_window window) {
        MimiStream(*model->mimi, *model->compute, moshi_mimi_params{4, window, frames, false});
    };
    stream(3, MOSHI_WINDOW_LEGACY);
    CHECK_FAILS(stream(4, MOSHI_WINDOW_LEGACY), MOSHI_ERROR_ARGUMENT, "frames_per_call is 4", "at most 3");
    CHECK_FAILS(stream(0, MOSHI_WINDOW_MODERN), MOSHI_ERROR_ARGUMENT, "frames_per_call");
    stream(4, MOSHI_WINDOW_FULL);
}

void a_codec_that_does_not_fit_is_refused() {
    tiny::Mimi mimi;
    mimi.bins = 11;
    CHECK_FAILS(load(tiny::Lm(), &mimi), MOSHI_ERROR_FORMAT, "codec", "11 codes", "10 codes");
    mimi = tiny::Mimi();
    mimi.n_codebooks = 1;
    CHECK_FAILS(load(tiny::Lm(), &mimi), MOSHI_ERROR_FORMAT, "codec of 1 codebooks");
}

} // namespace

int main() {
    return check::run({
        {"tokens are those that the model has", tokens_are_those_that_the_model_has},
        {"a session goes on past its context", a_session_goes_on_past_its_context},
        {"a seed repeats a conversation", a_seed_repeats_a_conversation},
        {"a reset session is as new", a_reset_session_is_as_new},
        {"two threads get what each would get alone", two_threads_get_what_each_would_get_alone},
        {"depformer steps that nobody hears change nothing", depformer_steps_that_nobody_hears_change_nothing},
        {"packed projections are those of the single ones", packed_projections_are_those_of_the_single_ones},
        {"a restored session goes on as it would have", a_restored_session_goes_on_as_it_would_have},
        {"a forced text token is said and heard", a_forced_text_token_is_said_and_heard},
        {"frames before a forced one are untouched, and it decides those after",
         frames_before_a_forced_one_are_untouched_and_it_decides_those_after},
        {"forcing the sampled tokens changes nothing", forcing_the_sampled_tokens_changes_nothing},
        {"a token to be forced is part of a snapshot and can be taken back",
         a_token_to_be_forced_is_part_of_a_snapshot_and_can_be_taken_back},
        {"text tokens that the model lacks are not forced", text_tokens_that_the_model_lacks_are_not_forced},
        {"a damaged snapshot is refused and changes nothing", a_damaged_snapshot_is_refused_and_changes_nothing},
        {"a snapshot fits its model and settings alone", a_snapshot_fits_its_model_and_settings_alone},
        {"a prompt at once is a prompt frame by frame", a_prompt_at_once_is_a_prompt_frame_by_frame},
        {"a prompt cannot be guessed", a_prompt_cannot_be_guessed},
        {"a cancelled prompt leaves no trace", a_cancelled_prompt_leaves_no_trace},
        {"wrong user codes leave no trace", wrong_user_codes_leave_no_trace},
        {"every KV type and window runs", every_kv_type_and_window_runs},
        {"settings that cannot be are refused", settings_that_cannot_be_are_refused},
        {"many layers have room in the graph", many_layers_have_room_in_the_graph},
        {"sound goes in and comes out", sound_goes_in_and_comes_out},
        {"damaged weights are noticed in the sound", damaged_weights_are_noticed_in_the_sound},
        {"frames per call fit the codec's context", frames_per_call_fit_the_codecs_context},
        {"a codec that does not fit is refused", a_codec_that_does_not_fit_is_refused},
    });
}
