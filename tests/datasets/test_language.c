/* tests/datasets/test_language.c - languages told by their small words, shares of them, phrases of doubt. */
#include "study_help.h"

#include "datasets/language.h"

static kd_lexicon *lexicon;
static kd_scan_room room;

static kd_telling tell(const char *text, const char *target) {
    kd_scan scan;
    kd_telling o;
    OK(kd_scan_text(&scan, &room, kd_str_of(text), &e));
    kd_language_tell(&o, lexicon, &scan, kd_str_of(text), target ? kd_language_named(target) : KD_NO_LANGUAGE);
    return o;
}

static const struct {
    const char *code, *text;
} samples[] = {
    {"en", "She sells the remaining nine eggs at the market for two dollars each, so every day she makes eighteen dollars."},
    {"de", "Sie verkauft die restlichen neun Eier auf dem Markt für zwei Dollar das Stück, also verdient sie jeden Tag achtzehn Dollar."},
    {"fr", "Elle vend les neuf œufs restants au marché pour deux dollars chacun, donc elle gagne dix-huit dollars par jour."},
    {"es", "Ella vende los nueve huevos restantes en el mercado por dos dólares cada uno, así que gana dieciocho dólares al día."},
    {"pt", "Ela vende os nove ovos restantes no mercado por dois dólares cada, então ela ganha dezoito dólares por dia."},
    {"it", "Vende le nove uova rimanenti al mercato per due dollari ciascuna, quindi guadagna diciotto dollari al giorno."},
    {"nl", "Ze verkoopt de overige negen eieren op de markt voor twee dollar per stuk, dus ze verdient elke dag achttien dollar."},
    {"sv", "Hon säljer de nio återstående äggen på marknaden för två dollar styck, så hon tjänar arton dollar varje dag."},
    {"da", "Hun sælger de resterende ni æg på markedet for to dollar stykket, så hun tjener atten dollar hver dag. "
           "Hvad tjener hendes mor af penge?"},
    {"no", "Hun selger de ni gjenværende eggene på markedet for to dollar stykket, så hun tjener atten dollar hver dag, men ikke noe mer."},
    {"fi", "Hän myy loput yhdeksän munaa torilla kahdella dollarilla kappale, joten hän ansaitsee päivässä kahdeksantoista dollaria, ja se "
           "on kaikki."},
    {"pl", "Sprzedaje pozostałe dziewięć jaj na targu po dwa dolary za sztukę, więc każdego dnia zarabia osiemnaście dolarów."},
    {"cs", "Zbývajících devět vajec prodává na trhu za dva dolary za kus, takže každý den vydělá osmnáct dolarů, protože je to tak."},
    {"hu",
     "A maradék kilenc tojást a piacon darabonként két dollárért adja el, tehát minden nap tizennyolc dollárt keres, és ez az összes."},
    {"ro",
     "Ea vinde cele nouă ouă rămase la piață cu doi dolari fiecare, deci câștigă optsprezece dolari în fiecare zi, pentru că sunt multe."},
    {"tr", "Kalan dokuz yumurtayı pazarda tanesi iki dolardan satıyor, yani her gün on sekiz dolar kazanıyor ve bu çok iyi."},
    {"vi", "Cô ấy bán chín quả trứng còn lại ở chợ với giá hai đô la mỗi quả, vì vậy mỗi ngày cô ấy kiếm được mười tám đô la."},
    {"id",
     "Dia menjual sembilan telur yang tersisa di pasar seharga dua dolar per butir, jadi dia mendapat delapan belas dolar setiap hari."},
    {"ru", "Она продаёт оставшиеся девять яиц на рынке по два доллара за штуку, поэтому каждый день она получает восемнадцать долларов."},
    {"uk", "Вона продає решту дев'ять яєць на ринку по два долари за штуку, тому щодня вона отримує вісімнадцять доларів, і це все."},
    {"bg", "Тя продава останалите девет яйца на пазара по два долара всяко, така че всеки ден печели осемнадесет долара."},
    {"ar", "تبيع البيض التسعة المتبقية في السوق مقابل دولارين لكل بيضة، ثم تكسب ثمانية عشر دولارا كل يوم."},
    {"fa", "او نه تخم مرغ باقی مانده را در بازار هر کدام به دو دلار می فروشد، پس هر روز هجده دلار به دست می آورد."},
    {"zh", "她把剩下的九个鸡蛋在市场上以每个两美元的价格卖掉，所以她每天赚十八美元。"},
    {"ja", "彼女は残りの九個の卵を市場で一個二ドルで売るので、毎日十八ドルを稼ぎます。"},
    {"ko", "그녀는 남은 아홉 개의 달걀을 시장에서 개당 이 달러에 팔아서 매일 십팔 달러를 법니다."},
    {"el", "Πουλάει τα υπόλοιπα εννέα αυγά στην αγορά προς δύο δολάρια το καθένα."},
    {"he", "היא מוכרת את תשע הביצים הנותרות בשוק בשני דולרים כל אחת."},
    {"hi", "वह बाकी नौ अंडे बाजार में दो डॉलर प्रति अंडे के हिसाब से बेचती है।"},
    {"th", "เธอขายไข่ที่เหลือเก้าฟองที่ตลาดในราคาฟองละสองดอลลาร์"},
};

static void test_languages(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const kd_telling o = tell(samples[i].text, NULL);
        if (strcmp(kd_language_code(o.language), samples[i].code) != 0)
            fail_msg("%s is told as %s: %s", samples[i].code, kd_language_code(o.language), samples[i].text);
        if (o.share < 0.95) fail_msg("%s: %g of it is its own", samples[i].code, o.share);
    }
    assert_int_equal(tell("", NULL).language, KD_NO_LANGUAGE);
    assert_int_equal(tell("x + y = 127", NULL).language, KD_NO_LANGUAGE);
    assert_int_equal(kd_language_named("tlh"), KD_NO_LANGUAGE);
    assert_string_equal(kd_language_code(KD_NO_LANGUAGE), "und");
}

/* Every text against every language: its own share is whole, that of another language of another script nothing, of the same script little. */
static void test_shares(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        for (size_t k = 0; k < sizeof samples / sizeof *samples; k++) {
            const double v = tell(samples[i].text, samples[k].code).share;
            const bool near_ones = i != k && (strstr("sv da no", samples[i].code) && strstr("sv da no", samples[k].code));
            const bool han = strstr("zh ja", samples[i].code) && strstr("zh ja", samples[k].code);
            if (i == k ? v < 0.95 : !near_ones && !han && v > 0.3) fail_msg("%s measured as %s: %g", samples[i].code, samples[k].code, v);
        }
}

static void test_mixing(void **state) {
    (void)state;
    kd_buf b = {0};
    for (int i = 0; i < 10; i++) OK(kd_buf_printf(&b, "%s\n", samples[i == 4 || i == 5 ? 1 : 0].text)); /* two lines of ten are German */
    double v = tell(b.data, "en").share;
    assert_true(v > 0.7 && v < 0.9);
    v = tell(b.data, NULL).share; /* its own is English */
    assert_true(v > 0.7 && v < 0.9);
    assert_string_equal(kd_language_code(tell(b.data, NULL).language), "en");
    v = tell(b.data, "de").share;
    assert_true(v > 0.1 && v < 0.3);
    b.len = 0;
    for (int i = 0; i < 3; i++)
        OK(kd_buf_printf(
            &b, "%s\n```python\nfor x in range(10):\n    if x is not None and y: return the_sum\n```\n\\text and \\left( \\in \\to\n",
            samples[1].text));
    assert_true(tell(b.data, "de").share > 0.85); /* code between fences is of no language; its letters still count by script */
    assert_true(tell("abcdef \xe4\xbd\xa0\xe5\xa5\xbd", "en").share == 0.5);
    assert_true(tell("angle \xce\xb1 and \xcf\x80", "en").share == 1); /* Greek letters alone are mathematics */
    assert_true(tell("bad \xff\xfe bytes", "en").share == 1);
    assert_true(tell("\xe4\xbd\xa0\xe5\xa5\xbd", "en").share == 0);
    assert_true(tell("", "en").share == 1);
    kd_buf_clear(&b);
}

static void test_turns(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int turns, waits, corrections;
    } rows[] = {{"Wait, no. Hmm... let me check again. The waiter waits. Alternatively, x.", 4, 1, 0},
                {"await waiting", 0, 0, 0},
                {"", 0, 0, 0},
                {"WAIT! I made a mistake; that\xe2\x80\x99s not right. Let me start over.", 4, 1, 3},
                {"Let me see. On second thought, scratch that. Oops", 3, 0, 2},
                {"let", 0, 0, 0},
                {"I was wrongly told. that's", 0, 0, 0},
                {"```\nwait\n```", 0, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const kd_telling o = tell(rows[i].text, NULL);
        if (o.turns != rows[i].turns || o.waits != rows[i].waits || o.corrections != rows[i].corrections)
            fail_msg("row %zu: %d turns, %d waits, %d corrections", i, (int)o.turns, (int)o.waits, (int)o.corrections);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_languages), cmocka_unit_test(test_shares), cmocka_unit_test(test_mixing),
                                       cmocka_unit_test(test_turns)};
    if (kd_lexicon_new(&lexicon, NULL)) return 1;
    const int rc = cmocka_run_group_tests_name("language", tests, make_tmp, drop_tmp);
    kd_scan_room_clear(&room);
    kd_lexicon_free(lexicon);
    return rc;
}
