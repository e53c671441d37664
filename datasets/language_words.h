/* datasets/language_words.h - the small words that tell a language: articles, pronouns, prepositions, conjunctions, common verbs, in lower case.
 * Written down by us for this purpose; words of one letter are left out, for they are variables. Included by language.c alone.
 * A word may stand in many lists: it counts for each of them, and the less the more there are. */
/* clang-format off */
static const struct {
    char code[4];
    const char *words;
} word_lists[] = {
{"en", "the of and to in is that it for was on are as with his they be at one have this from or had by but not what all were we when your can said there use an "
       "each which she do how their if will up other about out many then them these so some her would make like him into has more two my than been call who now find "
       "did get may its our any also only over new just most very after should could does where because between through both under while must those too even here "
       "let first answer number why yes no you he don doesn isn didn wasn aren ll ve re since each three four five total per times equals need given how much"},
{"de", "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie nach wird bei einer um am sind noch "
       "wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei wenn kann können ich wir ihr ihre sein seine mein dies diese dieser "
       "dieses jetzt also dann weil was wer wo hier dort muss müssen soll sollen gibt ohne gegen unter zwischen sehr viel viele alle alles kein keine jedes jeder mal "
       "zwei drei vier fünf damit daher insgesamt beträgt pro wieviel wie lautet antwort zahl doch schon uns euch mir mich dich dir ihm ihn habe hatte waren würde"},
{"fr", "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont la avec son aux cette ont ou mais comme tout nous sa elle sans "
       "fait être deux même ses peut leur vous je on ces était donc si très aussi bien entre après avant sous chez alors quand où dont chaque lui leurs notre votre mon "
       "ma mes ton ta tes ils elles ai avons avez suis sommes êtes étaient faire peuvent doit doivent faut car parce puis ainsi depuis jusqu qu lorsque quel quelle "
       "quels combien trois quatre cinq réponse nombre encore toujours jamais rien tous toutes toute autre autres cela ça voici c'est"
       " selon valeur exemple tandis suivant suivante premier première nouveau nouvelle lors afin vers été étant aucun certains"},
{"es", "de la que el en los se del las un por con no una su para es al lo como más pero sus le ya este sí porque esta entre cuando muy sin sobre también me hasta hay "
       "donde quien desde todo nos durante todos uno les ni contra otros ese eso ante ellos esto antes algunos qué unos yo otro otras otra él tanto esa estos mucho "
       "nada muchos cual poco ella estar estas algo nosotros mi mis tú tu tus ellas son fue ser tiene era han está puede si entonces así cada dos tres cuatro cinco "
       "cuántos cuántas cuánto respuesta número hacer pueden debe luego tenemos hemos después mismo aquí ahora"
       " usa cualquier según dentro valor ejemplo cuyo ambos aunque mientras siguiente primero primera nueva nuevo cuyos todas toda misma sido siendo ninguno algún"},
{"pt", "de que não do da em um para com uma os no se na por mais as dos como mas ao ele das tem seu sua ou quando muito nos já está eu também só pelo pela até isso ela "
       "entre depois sem mesmo aos seus quem nas me esse eles você essa num nem suas meu às minha numa pelos elas qual nós lhe deles essas esses pelas este dele tu te "
       "vocês vos meus minhas são foi ser há era pode então assim cada dois duas três quatro cinco quantos quantas resposta número fazer podem deve temos agora aqui "
       "onde porque porém ainda é à ter será estão"
       " qualquer através segundo dentro valor exemplo cujo ambos embora enquanto seguinte primeiro primeira novo nova outra outro outros outras todas todos mesma sido sendo nenhum algum nosso"},
{"it", "di che la il un per in una mi sono ho non ma lo ha le si ti con cosa come da se no più io ci del questo qui bene tu al sei della mio solo lui gli hai era nel "
       "dei alla delle essere fatto suo fa dal quando perché chi dove anche lei su stato sua questa nella tutto molto quello noi dalla poi ogni due tre quattro cinque "
       "quanto quanti quante risposta numero può possono deve dobbiamo abbiamo quindi allora così degli dell all nell sulla sul tra fra senza loro nostro vostro ai "
       "alle dai negli dopo prima ancora sempre mai tutti tutte altro altri ed è sia"
       " viene vengono qualsiasi secondo dentro valore esempio cui entrambi mentre seguente primo nuovo nuova altra altre stesso stessa stati essendo nessun alcuni"},
{"nl", "de van een het en in is dat op te zijn met voor niet die aan er om als dan maar hij ook door nog bij tot je naar uit ze wordt wat kan of over ik meer geen "
       "hebben deze dit heeft worden onder hun zich werd veel wel was haar zo we moet na andere twee zou waar onze hoe waren alle al toen der des wij jij jullie hem "
       "mijn zijn daar hier nu want omdat dus als elk elke ieder per drie vier vijf hoeveel antwoord getal kunnen moeten zullen zal mag mogen tussen zonder tegen"},
{"sv", "och att det i en är som på de av för med den till har inte om ett han men var jag sig från vi så kan när man år under också efter eller nu sin där vid mot ska "
       "skulle kommer ut får finns vara hade alla andra mycket än här då sedan över bara blir upp även vad få två vill ha många hur mer går kunde sina in hon dem mellan "
       "detta denna dessa några något någon ingen inga varje tre fyra fem svaret antal måste dig mig oss er ni deras hans hennes utan eftersom därför är"
       " samma första genom följande medan både själv hos nya annan göra gör används"},
{"da", "og at det en den til er som på de med han af for ikke der var mig sig men et har om vi min havde ham hun nu over da fra du ud sin dem os op man hans hvor eller "
       "hvad skal selv her alle vil blev kunne ind når være dog noget ville jo deres efter ned skulle denne end dette mit også under have dig anden hende mine alt meget "
       "sit sine vor mod disse hvis din nogle hos blive mange ad bliver hendes været jer sådan hver fem fire to tre svaret antal hvorfor hvilken kun fordi derfor så hvordan mellem uden hvilke mere får går nogen ingen aldrig begge bør nej ja selvom begyndte igen"
       " kan ved andre må bare vores både flere samme første gennem indtil én følgende mens nye findes gøre gør bruges"},
{"no", "og i det er på som en å at til den av for med de han har ikke var jeg om et men seg vi fra så kan ble eller når skal ved man hun over ut være nå etter også da "
       "bare opp dette sin hva hadde dem kunne mer der du deg meg oss noe noen ingen mange mye slik hvor hvordan hvorfor hvilken denne disse alle andre må vil ville "
       "skulle bli blir blitt vært fordi derfor hver to tre fire fem svaret antall sitt sine deres hennes hans uten mellom under mot enn ja nei"
       " hvis flere samme første gjennom følgende mens begge vår ditt mitt selv hos både nye annen finnes gjøre gjør brukes"},
{"fi", "ja on ei se että oli hän ovat kun mutta niin tai joka myös kuin sen ole hänen jos vain siitä mitä olla sitä jo vielä nyt voi olen ovat mukaan jälkeen sekä "
       "mitään kaikki koska minä sinä me te he tämä tuo nämä ne tässä siinä tällä sillä kanssa ennen joten siis sitten vaan kuitenkin paljon hyvin enemmän yksi kaksi "
       "kolme neljä viisi kuinka monta vastaus luku jokainen ilman välillä olisi olivat ollut täytyy pitää saa saada tulee eivät emme minun sinun meidän heidän"
       " jonka jotka joita jossa niiden niitä ellei mikäli voidaan eikä jokin jotain muut muita muun toinen ensimmäinen seuraava silloin lisäksi esimerkiksi tapauksessa aikana joissa jolla"},
{"pl", "się na nie jest do to że co jak ale za od po czy tak już tylko jego dla ma przez są przy oraz być może bardzo jeszcze był była było były będzie też tym tego "
       "tej ten ta te które który która którego gdy kiedy więc ich jej nas was nam wam mnie mi cię ci go jeśli albo lub bez między pod nad przed ponieważ dlatego każdy "
       "każda każde dwa trzy cztery pięć ile odpowiedź liczba musi można mamy mają wszystko wszystkie jako aby gdzie teraz tutaj więcej sobie czym"},
{"cs", "se na je že to ve si ale do jako za jsem by po od pro při jeho jsou byl aby jen už nebo která který které ze bylo před co tak až jak mezi být může jejich než "
       "není také však této tento tato toto těch ještě když kde protože proto jsme jste mají má měl byla byli bude budou podle pouze každý každá každé dva dvě tři "
       "čtyři pět kolik odpověď číslo musí můžeme máme všechny všechno nad pod bez kdo mi mě nás vás nám vám ho mu ji jí tedy pak tady velmi"},
{"hu", "az és hogy nem is egy ez van meg csak mint de ha volt már el még ki mi lehet vagy kell minden nincs aki amely azt ezt azok ezek olyan ilyen után között alatt "
       "szerint akkor mert most itt ott majd nagyon pedig által volna lesz lett voltak vannak neki nekem neked nekünk őket őt én te mi ti ők ami amit amikor ahol hogyan "
       "mennyi hány kettő három négy öt válasz szám tehát így úgy egyik másik több tudjuk legyen össze egész magát sem sok kis"},
{"ro", "şi și de la în cu pe nu este din că un pentru care mai sunt ca fi au prin sau fost după ale era lui dar sa avea între două până doar fără însă cum cel cea cele "
       "cei al ai acest această aceste acești acel acea asta ei ele el ea noi voi eu tu îl îi își se le dacă când unde atunci deci pentru că poate pot trebuie avem fiecare "
       "trei patru cinci câte câți cât răspuns răspunsul numărul foarte tot toate toți fiind astfel aici acum despre asupra"
       " următorul prima primul nou nouă același nici unele"},
{"tr", "ve bir bu için ile da de çok daha olan gibi ne kadar en olarak sonra var ki her değil ama ya o ben sen biz siz onlar şu mi mı mu mü ise veya hem iki üç dört beş "
       "kaç yok olduğu olduğunu oldu olur eğer çünkü nasıl neden bunu bunun buna şey tüm bütün göre önce şimdi burada diye sadece arasında toplam cevap sayı sayısı tane "
       "vardır olarak edilen eder etmek yani böyle öyle onun onu ona bana sana bize kendi üzerinde hiç"},
{"vi", "và của là có cho không được với trong những người các để khi một này đã như từ ra thì đó về vào năm cũng tôi sẽ phải nhiều mà còn anh ông hay chỉ sau lại đến "
       "nên trên rất nếu bạn chúng ta hai ba bốn bao nhiêu số câu tổng mỗi vậy vì nó họ làm theo bị đi hơn do cùng"},
{"id", "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka lebih kata tahun sudah atau saat oleh menjadi orang ia "
       "telah adalah seperti sebagai bahwa dapat para harus namun kita dua satu masih hari hanya mengatakan kepada kami setelah melakukan lalu belum lain dia kalau terjadi "
       "banyak menurut anda hingga tak baru beberapa ketika saja jalan sekitar secara sementara tapi sangat hal sehingga seorang bagi besar lagi selama antara sebuah jika "
       "sampai jadi terhadap tiga empat lima berapa jawaban jumlah setiap maka kemudian"},
{"ca", "de la que el en un una per amb no del els les al és es com més però són aquest aquesta aquests aquestes seva seu seus seves també fer quan molt sense entre sobre "
       "fins ha han hem haver estat ser tot tots tota totes perquè on què qui quin quina quant quants quantes jo tu ell ella nosaltres vosaltres ells elles ens us li els "
       "hi ho si doncs així cada dos dues tres quatre cinc resposta nombre pot poden cal hem ara aquí després abans mateix altre altres pels pel dels als això i"},
{"hr", "je se na da su za od sa kao koji koja koje iz ili što nije samo po ali bi kako sve ne do će bio bila bilo bile još ako već kada gdje jer zato tako ovo ova ovaj "
       "taj ta to te mi ti on ona ono oni one ja vi nas vas nam vam ih im njega njemu svaki svaka svako dva dvije tri četiri pet koliko odgovor broj mora možemo može "
       "imamo ima imaju između bez pod nad pred prema nakon prije više vrlo onda ovdje također nego oko kod sam smo ste"},
{"ru", "и в не на что он как это по но они мы она так его то все из за от же вы бы был для до только или ещё еще уже когда если чтобы при быть нет ни даже который которая "
       "которые которое есть был была было были будет мне меня тебя нас вас их ей ему этого этот эта эти того тоже потому поэтому где там здесь теперь тогда чем под над "
       "без между каждый каждая два две три четыре пять сколько ответ число нужно можно может затем себя свой очень всего со об к у с"},
{"uk", "і в не на що він як це по але вони ми вона так його то всі з за від же ви би був для до тільки або ще вже коли якщо щоб при бути немає ні навіть який яка які яке "
       "є була було були буде мені мене тебе нас вас їх їй йому цього цей ця ці того теж тому де там тут тепер тоді ніж під над без між кожен кожна два дві три чотири "
       "п ять скільки відповідь число потрібно можна може потім себе свій дуже всього та й у із зі також"},
{"bg", "и на да не се за от че по са си съм е ще ли но той тя то те ние вие аз ти как какво кой коя кое които който която което когато ако защото защо така тази този това "
       "тези от до при без между през след преди само или още вече като има няма беше бяха бъде може трябва всеки всяка всички два две три четири пет колко отговор "
       "число много повече тук там сега тогава него нея тях ги го му им ми ни ви със към"},
{"ar", "في من على إلى أن هذا هذه التي الذي كان كانت عن مع ما لا لم هو هي كل بعد قبل بين أو ثم إذا قد عند حتى ذلك تلك هناك لأن كم عدد الجواب ليس غير أي أنه أنها نحن هم"},
{"fa", "و در به از که این را با است برای آن یک خود تا بر هم نیز می شد شده بود کرد او ما شما آنها اگر چون هر پس یا اما چند پاسخ عدد نیست هست دارد باید"},
{"ur", "کے کی ہے میں اور کا سے کو پر نے ہیں یہ کہ ایک وہ اس ان تھا تھی جو بھی نہیں تو ہو کر گیا کیا ہم آپ لیے ساتھ اگر کتنے جواب"},
};
/* Letters of two bytes that a language writes: they tell of words that are not listed. */
static const struct {
    char code[4];
    const char *letters;
} letter_lists[] = {
{"de", "äöüß"}, {"fr", "éèêàçùîôûâœ"}, {"es", "ñáéíóú"}, {"pt", "ãõçáéíóúâêôà"}, {"it", "àèéìòù"}, {"nl", "ëïé"}, {"sv", "åäö"}, {"da", "æøå"}, {"no", "æøå"},
{"fi", "äö"}, {"pl", "ąćęłńóśźż"}, {"cs", "áčďéěíňóřšťúůýž"}, {"hu", "áéíóöőúüű"}, {"ro", "ăâîșțşţ"}, {"tr", "çğıöşü"}, {"vi", "ăâđêôơưáàãéèíìóòõúùý"},
{"ca", "àçèéíïòóúü"}, {"hr", "čćđšž"}, {"ru", "ыэёъщ"}, {"uk", "іїєґ"}, {"bg", "ъщ"}, {"fa", "پچگژیک"}, {"ur", "ٹڈڑںےہھ"}};
/* clang-format on */
