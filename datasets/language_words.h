/* datasets/language_words.h - the small words that tell a language: articles, pronouns, prepositions, conjunctions, common verbs, in lower case.
 * Written down by us for this purpose; words of one letter are left out, for they are variables. Included by language.c alone.
 * A word may stand in many lists: it counts for each of them, and the less the more there are. */
/* clang-format off */
static const struct {
    char code[4];
    const char *words;
} word_lists[] = {
{"en", "about after all also an and answer any are aren as at be because been between both but by call can could did didn do does doesn don each "
       "equals even find first five for four from get given had has have he her here him his how if in into is isn it its just let like ll make many "
       "may more most much must my need new no not now number of on one only or other our out over per re said she should since so some than that "
       "the their them then there these they this those three through times to too total two under up use ve very was wasn we were what when where "
       "which while who why will with would yes you your"},
{"de", "aber alle alles als also am an antwort auch auf aus bei beträgt bis daher damit dann das dass dem den der des dich die dies diese dieser "
       "dieses dir doch dort drei durch ein eine einem einen einer er es euch fünf für gegen gibt habe haben hat hatte hier ich ihm ihn ihr ihre im "
       "in insgesamt ist jeder jedes jetzt kann kein keine können lautet mal man mehr mein mich mir mit muss müssen nach nicht noch nur oder ohne "
       "pro schon sehr sei sein seine sich sie sind so soll sollen um und uns unter viel viele vier von vor war waren was weil wenn wer werden wie "
       "wieviel wir wird wo wurde würde zahl zu zum zur zwei zwischen über"},
{"fr", "afin ai ainsi alors après au aucun aussi autre autres aux avant avec avez avons bien c'est car ce cela certains ces cette chaque chez cinq "
       "combien comme dans de depuis des deux doit doivent donc dont du elle elles en encore entre est et exemple faire fait faut il ils jamais je "
       "jusqu la le les leur leurs lors lorsque lui ma mais mes mon même ne nombre notre nous nouveau nouvelle on ont ou où par parce pas peut "
       "peuvent plus pour premier première puis qu quand quatre que quel quelle quels qui rien réponse sa sans se selon ses si sommes son sont sous "
       "suis suivant suivante sur ta tandis tes ton toujours tous tout toute toutes trois très un une valeur vers voici votre vous ça étaient était "
       "étant été êtes être"},
{"es", "ahora al algo algunos algún ambos ante antes aquí así aunque cada cinco como con contra cual cualquier cuando cuatro cuyo cuyos cuántas "
       "cuánto cuántos de debe del dentro desde después donde dos durante ejemplo el ella ellas ellos en entonces entre era es esa ese eso esta "
       "estar estas este esto estos está fue hacer han hasta hay hemos la las le les lo los luego me mi mientras mis misma mismo mucho muchos muy "
       "más nada ni ninguno no nos nosotros nueva nuevo número otra otras otro otros para pero poco por porque primera primero puede pueden que "
       "quien qué respuesta se según ser si sido siendo siguiente sin sobre son su sus sí también tanto tenemos tiene toda todas todo todos tres tu "
       "tus tú un una uno unos usa valor ya yo él"},
{"pt", "agora ainda algum ambos ao aos aqui as assim através até cada cinco com como cujo da das de dele deles dentro depois deve do dois dos duas "
       "ela elas ele eles em embora enquanto entre então era essa essas esse esses este está estão eu exemplo fazer foi há isso já lhe mais mas me "
       "mesma mesmo meu meus minha minhas muito na nas nem nenhum no nos nosso nova novo num numa não nós número onde os ou outra outras outro "
       "outros para pela pelas pelo pelos pode podem por porque porém primeira primeiro qual qualquer quando quantas quantos quatro que quem "
       "resposta se seguinte segundo sem sendo ser será seu seus sido sua suas são só também te tem temos ter todas todos três tu um uma valor você "
       "vocês vos à às é"},
{"it", "abbiamo ai al alcuni all alla alle allora altra altre altri altro anche ancora bene che chi ci cinque come con cosa così cui da dai dal "
       "dalla degli dei del dell della delle dentro deve di dobbiamo dopo dove due ed entrambi era esempio essendo essere fa fatto fra gli ha hai ho "
       "il in io la le lei lo loro lui ma mai mentre mi mio molto negli nel nell nella nessun no noi non nostro numero nuova nuovo ogni per perché "
       "più poi possono prima primo può qualsiasi quando quante quanti quanto quattro quello questa questo qui quindi risposta se secondo seguente "
       "sei sempre senza si sia solo sono stati stato stessa stesso su sua sul sulla suo ti tra tre tu tutte tutti tutto un una valore vengono viene "
       "vostro è"},
{"nl", "aan al alle als andere antwoord bij daar dan dat de der des deze die dit door drie dus een elk elke en er geen getal haar hebben heeft hem "
       "het hier hij hoe hoeveel hun ieder ik in is je jij jullie kan kunnen maar mag meer met mijn moet moeten mogen na naar niet nog nu of om "
       "omdat onder onze ook op over per te tegen toen tot tussen twee uit van veel vier vijf voor waar want waren was wat we wel werd wij worden "
       "wordt zal ze zich zijn zo zonder zou zullen"},
{"sv", "alla andra annan antal används att av bara blir både de dem den denna deras dessa det detta dig där därför då efter eftersom eller en er ett "
       "fem finns från fyra få får följande för första genom går gör göra ha hade han hans har hennes hon hos hur här i in inga ingen inte jag kan "
       "kommer kunde man med medan mellan men mer mig mot mycket många måste ni nu nya när någon något några och också om oss på samma sedan sig sin "
       "sina själv ska skulle som svaret så till tre två under upp ut utan vad var vara varje vi vid vill än är även år över"},
{"da", "ad af aldrig alle alt anden andre antal at bare begge begyndte blev blive bliver bruges både bør da de dem den denne der deres derfor det "
       "dette dig din disse dog du efter eller en end er et fem findes fire flere for fordi fra får følgende første gennem går gør gøre ham han hans "
       "har havde have hende hendes her hos hun hvad hver hvilke hvilken hvis hvor hvordan hvorfor igen ikke ind indtil ingen ja jer jo kan kun "
       "kunne man mange med meget mellem men mens mere mig min mine mit mod må ned nej nogen noget nogle nu nye når og også om op os over på samme "
       "selv selvom sig sin sine sit skal skulle som svaret så sådan til to tre ud uden under var ved vi vil ville vor vores være været én"},
{"no", "alle andre annen antall at av bare begge ble bli blir blitt brukes både da de deg dem den denne der deres derfor det dette disse ditt du "
       "eller en enn er et etter fem finnes fire flere for fordi fra følgende første gjennom gjør gjøre hadde han hans har hennes hos hun hva hver "
       "hvilken hvis hvor hvordan hvorfor i ikke ingen ja jeg kan kunne man mange med meg mellom men mens mer mitt mot mye må nei noe noen nye nå "
       "når og også om opp oss over på samme seg selv sin sine sitt skal skulle slik som svaret så til to tre under ut uten var ved vi vil ville vår "
       "være vært å"},
{"fi", "aikana ei eikä eivät ellei emme enemmän ennen ensimmäinen esimerkiksi että he heidän hyvin hän hänen ilman ja jo joissa joita joka jokainen "
       "jokin jolla jonka jos jossa jotain joten jotka jälkeen kaikki kaksi kanssa kolme koska kuin kuinka kuitenkin kun lisäksi luku me meidän "
       "mikäli minun minä mitä mitään monta muita mukaan mutta muun muut myös ne neljä niiden niin niitä nyt nämä ole olen oli olisi olivat olla "
       "ollut on ovat paljon pitää saa saada se sekä sen seuraava siinä siis siitä silloin sillä sinun sinä sitten sitä tai tapauksessa te toinen "
       "tulee tuo tällä tämä tässä täytyy vaan vain vastaus vielä viisi voi voidaan välillä yksi"},
{"pl", "aby albo ale bardzo bez być był była było były będzie ci cię co cztery czy czym dla dlatego do dwa gdy gdzie go ich ile jak jako jego jej "
       "jest jeszcze jeśli już każda każde każdy kiedy która które którego który liczba lub ma mają mamy mi między mnie może można musi na nad nam "
       "nas nie od odpowiedź oraz pięć po pod ponieważ przed przez przy się sobie są ta tak te tego tej ten teraz też to trzy tutaj tylko tym wam "
       "was więc więcej wszystkie wszystko za że"},
{"cs", "aby ale až bez bude budou by byl byla byli bylo být co do dva dvě ho jak jako je jeho jejich jen ještě ji jsem jsme jsou jste jí každá každé "
       "každý kde kdo když kolik která které který mají mezi mi mu musí má máme mě měl může můžeme na nad nebo není než nám nás od odpověď pak po "
       "pod podle pouze pro proto protože pět před při se si tady tak také tato tedy tento to toto této těch tři už ve velmi vám vás však všechno "
       "všechny za ze čtyři číslo že"},
{"hu", "ahol aki akkor alatt amely ami amikor amit az azok azt csak de egy egyik egész el ez ezek ezt ha hogy hogyan hány három ilyen is itt kell "
       "kettő ki kis között legyen lehet lesz lett magát majd meg mennyi mert mi minden mint most már másik még nagyon neked nekem neki nekünk nem "
       "nincs négy olyan ott pedig sem sok szerint szám te tehát ti tudjuk több után vagy van vannak volna volt voltak válasz által én és így össze "
       "öt úgy ők őket őt"},
{"ro", "acea această acel același acest aceste acești acum ai aici al ale asta astfel asupra atunci au avea avem ca care cea cei cel cele cinci cu "
       "cum când cât câte câți că dacă dar de deci despre din doar două după ea ei el ele era este eu fi fiecare fiind foarte fost fără la le lui "
       "mai nici noi nou nouă nu numărul patru pe pentru poate pot prima primul prin până răspuns răspunsul sa sau se sunt toate tot toți trebuie "
       "trei tu un unde unele următorul voi îi îl în însă între își şi și"},
{"tr", "ama arasında bana ben beş bir biz bize bu buna bunu bunun burada böyle bütün cevap da daha de değil diye dört eder edilen en etmek eğer gibi "
       "göre hem her hiç iki ile ise için kadar kaç kendi ki mi mu mü mı nasıl ne neden o olan olarak oldu olduğu olduğunu olur ona onlar onu onun "
       "sadece sana sayı sayısı sen siz sonra tane toplam tüm var vardır ve veya ya yani yok çok çünkü önce öyle üzerinde üç şey şimdi şu"},
{"vi", "anh ba bao bạn bị bốn cho chúng chỉ các câu còn có cùng cũng của do hai hay hơn họ khi không là làm lại mà mỗi một người nhiêu nhiều như "
       "những này nên nó năm nếu phải ra rất sau sẽ số ta theo thì trong trên tôi tổng từ và vào vì vậy về với ông đi đã đó được đến để"},
{"id", "ada adalah akan anda antara atau bagi bahwa banyak baru beberapa belum berapa besar bisa dalam dan dapat dari dengan di dia dua empat hal "
       "hanya hari harus hingga ia ini itu jadi jalan jawaban jika juga jumlah kalau kami karena kata ke kemudian kepada ketika kita lagi lain lalu "
       "lebih lima maka masih melakukan mengatakan menjadi menurut mereka namun oleh orang pada para saat saja sampai sangat satu saya sebagai "
       "sebuah secara sehingga sekitar selama sementara seorang seperti setelah setiap sudah tahun tak tapi telah terhadap terjadi tersebut tidak "
       "tiga untuk yang"},
{"ca", "abans així això al als altre altres amb aquest aquesta aquestes aquests aquí ara cada cal cinc com de del dels després doncs dos dues el ell "
       "ella elles ells els en ens entre es estat fer fins ha han haver hem hi ho i jo la les li mateix molt més no nombre nosaltres on pel pels per "
       "perquè però poden pot quan quant quantes quants quatre que qui quin quina què resposta sense ser seu seus seva seves si sobre són també tot "
       "tota totes tots tres tu un una us vosaltres és"},
{"hr", "ako ali bez bi bila bile bilo bio broj da do dva dvije gdje ih ili im ima imaju imamo iz između ja je jer još kada kako kao kod koja koje "
       "koji koliko mi mora može možemo na nad nakon nam nas ne nego nije njega njemu od odgovor oko on ona onda one oni ono ova ovaj ovdje ovo pet "
       "po pod pred prema prije sa sam samo se smo ste su svaka svaki svako sve ta taj tako također te ti to tri vam vas već vi više vrlo za zato će "
       "četiri što"},
{"ru", "без будет бы был была были было быть в вас все всего вы где даже два две для до его ей ему если есть еще ещё же за затем здесь и из или их к "
       "каждая каждый как когда которая которое которые который между меня мне может можно мы на над нас не нет ни но нужно об он она они от ответ "
       "очень по под потому поэтому при пять с свой себя сколько со так там тебя теперь то тогда того тоже только три у уже чем четыре число что "
       "чтобы эта эти это этого этот"},
{"uk", "або але без би був буде була були було бути в вас вже ви вона вони всього всі від відповідь він два дві де для до дуже же з за зі й його "
       "йому кожен кожна коли мене мені ми може можна між на навіть над нас не немає ні ніж п по потрібно потім при під свій себе скільки та так "
       "також там тебе теж тепер то того тоді тому три тут тільки у це цей цього ця ці число чотири ще що щоб як яка яке який якщо які ять є і із їй "
       "їх"},
{"bg", "аз ако без беше бъде бяха вече ви вие всеки всички всяка ги го да два две до е за защо защото и или им има как какво като когато кое което "
       "които кой който колко коя която към ли между ми много може му на не него нея ни ние но няма от отговор още пет по повече преди през при са "
       "само се сега си след съм със тази така там те тези ти то това тогава този той три трябва тук тя тях че четири число ще"},
{"ar", "أن أنه أنها أو أي إذا إلى التي الجواب الذي بعد بين تلك ثم حتى ذلك عدد على عن عند غير في قبل قد كان كانت كل كم لأن لا لم ليس ما مع من نحن هذا "
       "هذه هم هناك هو هي"},
{"fa", "آن آنها از است اما او اگر این با باید بر برای به بود تا خود دارد در را شد شده شما عدد ما می نیز نیست هر هست هم و پاسخ پس چند چون کرد که یا "
       "یک"},
{"ur", "آپ اس ان اور اگر ایک بھی تو تھا تھی جو جواب ساتھ سے لیے میں نہیں نے وہ پر کا کتنے کر کو کہ کی کیا کے گیا ہم ہو ہیں ہے یہ"},
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
