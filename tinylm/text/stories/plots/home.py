"""Plots at home and next door."""

from tinylm.text.stories.plots.plot import Plot
from tinylm.text.stories.words import children, colours, gifts, grown_ups, neighbours, places, toys

PLOTS = (
    Plot(
        "the-lost-toy",
        {"hero": children, "friend": children, "colour": colours, "toy": toys, "place": places},
        """
<meet>

{Hero.he} [owned|had] {a colour} {toy} and [took|carried] it [everywhere|to school, to bed and to the dentist|up every hill and down every stair|wherever {hero.he} went].
{Hero.his} [best|dearest|favourite] [toy|treasure|thing in the world] was {a colour} {toy} from <giver>.

<One-day>, after [a game|a picnic|a long walk|a race|hide-and-seek] {place.at}, the {toy} was [gone|missing|nowhere to be seen].
<One-day>, {hero} came [home|back] from {place} and [saw|noticed|found] that the {toy} was [gone|missing|not in {hero.his} bag].

<sad-beat>

//

"<Comfort>," said {friend}, {hero.his} [friend|neighbour|classmate|playmate] from [next door|across the road|down the lane|upstairs]. "[Where|When] did you [last see|last have|last hold] [it|the {toy}]?"
{Friend} from [next door|across the road|down the lane|upstairs] heard the news. "<Comfort>," {friend.he} said <softly>. "[Let us|We will|We can] [look|search] for it [together|right now|until we find it]."

Together they <ran> [back |]to {place} and <looked> <outdoor-spot>, <under-things-2> and even in <a look> <bird>'s nest.
[Hand in hand|Side by side|As fast as they could], they <ran> [back |]to {place}. They <looked> <outdoor-spot> and <under-things-2>, but they found only <a size> <bug>.

<Suddenly>, {friend} [spotted|noticed|saw] [something|a little something] [{colour}|bright|odd] <under-things-3>.
<Soon>, <a look> <bird> [flew up|hopped aside|fluttered away], and [there|just there], <under-things-3>, [something|a bit of something] {colour} [shone|peeped out|was waiting].

"<Wow>! [There it is|Here it is|I see it|It was here all along]!" [cried|shouted|laughed] {hero}, and {hero.he} [hugged|kissed|held] the {toy} <tight>.
It was the {toy}, [damp|dusty|muddy|a bit cold|covered in leaves] but [not broken|safe and sound|as good as ever]. "<Wow>!" [cried|shouted|laughed] {hero}.

//

<Thanks-quote> [said|cried|whispered] {hero}. "[You|Only you|A friend like you] [may|can] [play with it|take it home|borrow it] [today|for a week|whenever you like|until <weekday>]."
{Hero} [tied|sewed|glued] {a colour} [ribbon|label|string|tag] to the {toy}, so that [it would never get lost again|everybody would know whose it was|{hero.he} could always find it].

<home-end>
""",
    ),
    Plot(
        "the-broken-bowl",
        {"hero": children, "elder": grown_ups, "colour": colours},
        """
<meet>

On the [shelf|windowsill|kitchen table|piano] of {elder} stood {a colour} [bowl|vase|teapot|jug] [full of <flower-heap>|with painted <birds>|that was [a hundred|fifty|eighty] years old|from a [faraway|foreign|distant] [island|country|city]].

<One-day>, {hero} [played|practised] [football|catch|bowling|tennis|knights and dragons] [in the house|indoors|in the parlour], although {elder} had said [no|not to|that it was not allowed].
<One-day>, {hero} [danced|jumped|spun|galloped] through the [room|house|parlour] with <a look> [cushion|broom|umbrella|saucepan] for a [partner|horse|sword|hat].

[Crash|Smash|Bang|Clatter|Crack]! [It fell|It tumbled down|Down it went] and broke into [two|three|four|seven|ten|a hundred] [pieces|bits].

<sad-beat>

{Hero.he} [quickly|hastily] [hid|pushed|swept] the pieces <outdoor-spot>. [But|Still,|Even so,] [supper did not taste good|sleep would not come|{hero.his} tummy ached|the secret felt as heavy as <a size> <beast>].

//

<think-beat>

[At last|In the end|After a long night], {hero.he} [went|walked|crept] to {elder} and [said|whispered], "[I broke it|It was me|I did it]. [I am so sorry|I am very sorry|Please forgive me|I should have told you]."

{Elder} [looked|gazed] at {hero.him} [for a long moment|kindly|without a word|over {elder.his} glasses|with [raised eyebrows|a grave face]]. "[Thank you for telling me|That took courage|It is brave to tell the truth|I am glad to hear it from you]," {elder.he} said <softly>. "[A bowl|A thing|Clay] can be [mended|glued|replaced]. [Trust|The truth|A good heart] is [harder to mend|worth much more|what matters]."
"[I knew|I guessed|I heard the noise]," said {elder} <softly>, "and I [hoped|wished|knew] that you would tell me. [Everybody|Everyone] [drops|breaks|spoils] something [once|now and then|some time]. [Not everybody|Not everyone] [says so|tells the truth|owns up]."

They [fetched|found|mixed] [some |a pot of |a tube of ][glue|paste|cement] and [put|stuck|fitted] the pieces [together|back in place] <carefully>, [one by one|like a puzzle|until midnight|while the kettle sang].
[Together|With glue and patience], they mended it <carefully>, and {elder} painted <a size> <colour> <bug> over the [longest|biggest|ugliest] crack.

<glad-beat>

[Now|Ever since], it [holds|carries] [pencils|keys|buttons|pebbles|onions|paper flowers], and [no one|nobody] [minds|hides] the cracks.
From then on, {hero} played [ball|rough games|wild games] [outside|in the yard|in the garden|in the field], and told the truth [indoors|at once|every time].
""",
    ),
    Plot(
        "the-noise-at-night",
        {"hero": children, "elder": grown_ups},
        """
<meet>

[Only one thing|There was one thing that] made {hero.him} [feel |]<afraid>: [the dark|the night|bedtime|turning off the lamp].

<One-night>, [there came|{hero} heard] <a night-noise> from [the attic|the cellar|the corridor|behind the wardrobe|under the bed|the chimney]. [<Night-words>!|It did not stop.|It came again.|It grew louder.|It came closer.]

"[What if it is|Maybe it is|I am sure it is|It must be] <a size> <colour> <monster>," [thought|whispered|gulped] {hero}, and {hero.he} [hid|dived|crawled] under the [blanket|covers|quilt|pillow].
{Hero} [thought of|imagined] <a size> <colour> <monster> with [sharp|yellow|crooked|long] [teeth|claws|horns|whiskers] and [pulled|drew] the [blanket|covers|quilt|pillow] over {hero.his} head.

"{Elder}!" {hero.he} [called|cried|squeaked|whispered] [at last|in the end|as loudly as {hero.he} dared]. "[Somebody|Something|A monster] is [there|in the house|making a noise]!"

//

{Elder} came in [slippers|a nightcap|a dressing gown|woolly socks], with a [candle|torch|lantern|lamp]. "<Comfort>," {elder.he} said <softly>. "[Shall we|Let us] [go and see|have a look|find out] [together|right now]? [A fear|A noise|The dark] gets [smaller|tamer|thinner] when you look at it."

Hand in hand they [crept|tiptoed|walked|climbed] [along|through] the [dark|cold|silent] house, [past|by] the [ticking clock|old mirror|coat stand|rocking chair|umbrella stand] and [past |]the [sleeping cat|sleeping dog|empty birdcage|row of boots].

"[Look|Look there|Aha]," [said|whispered|chuckled] {elder}, and [held|lifted] the light [up|high|closer]. It was only <a look> <night-cause>.

{Hero} [laughed|giggled|smiled|breathed out]. "[You|Poor thing, you] are [not a monster|no monster] [at all|in the least]," {hero.he} said <softly>.
"So that [is|was] my monster!" [laughed|giggled|said] {hero}. "[It is|It was] [more scared than I am|smaller than my shoe|only lonely|rather sweet]."

{Elder} [made|warmed|brought] [two cups|two mugs] of <drink>, and they [listened|sat and listened] to the [noises|sounds] of the night and gave [each|every one] of them a name.

//

<dream>

[Now|These days], when [something|a board|a branch] [creaks|rattles|taps] in the dark, {hero} [gets up|fetches a lamp|goes] and [looks|has a look].
[After that|From that night on], the dark was [only the day with its eyes closed|just a room with the light off|a friend who spoke quietly|nothing but a big soft blanket].
""",
    ),
    Plot(
        "the-salty-cake",
        {"hero": children, "friend": children, "elder": grown_ups},
        """
<meet>

<One-day>, {hero} [wanted|decided] to bake <a fruit> cake for the birthday of {friend}.
It was [almost |nearly ]the birthday of {friend}, and {hero} [wanted|decided] to [bake|make] <a fruit> cake, [all alone|without any help|as a surprise].

{Hero.he} [put on|tied on|borrowed] <a colour> apron, [cracked|broke] [two|three|four|five] [brown |white |speckled |]eggs into a [bowl|pot], and added flour, butter and [a spoonful|a pinch|a cup] of <spice>.
{Hero.he} [washed {hero.his} hands|rolled up {hero.his} sleeves|opened the cookbook], and [soon there was|then there was] flour on the [floor|ceiling|cat|clock|curtains], egg on the [stove|doorknob|window|spoon] and <spice> in {hero.his} [hair|ears|shoes|socks].

Then {hero.he} [took|grabbed|reached for] the [white|blue|tall|round] jar on the [top|lowest|middle] shelf and [poured|shook|tipped] in [a lot|plenty|two whole cups|ten big spoons] of [sugar|what looked like sugar].

The cake [rose|baked|grew] [in the oven|in the heat] and [smelled|looked] [wonderful|heavenly|perfect|like a party|better than a bakery].

//

{Elder} [came in|stopped by|looked in] and [tasted|nibbled|tried] a [crumb|corner|slice|bit]. {Elder.his} [eyes watered|nose wrinkled|cheeks turned red|mouth went crooked]. "<Oh-no>," {elder.he} [said|coughed|gasped|spluttered]. "[This|That] is [salt|not sugar but salt]!"
When {elder} [tasted|nibbled|tried] a [crumb|corner|slice|bit], {elder.he} [coughed|drank three glasses of water|hopped on one leg|made <a beast> face]. "[My dear|My darling|Sweetheart], [you took|you used|this is] the salt," {elder.he} said <softly>.

<sad-beat>

"<Comfort>," said {elder}. "[Even the best|The best|Great|All] [cooks|bakers] [make|have made] [mistakes|muddles]. [I once|Last winter I|As a child I] [put|stirred] [pepper|mustard|soap|chalk|fish oil] [into|in] the [porridge|cocoa|jam|custard|wedding cake]."

[So they|Together they|They] began again, and this time {hero} [tasted|sniffed|checked] [everything|every jar|each thing] [first|twice|with the tip of {hero.his} tongue]. [On top|For the top], they [put|arranged|made] <a size> <beast> of [icing|marzipan|cherries|almonds|chocolate].

//

{Friend} [blew out|puffed at] the candles and [ate|took|wanted] [two|three|four] [pieces|slices]. "<Wow>! [It tastes|This tastes] [like|of] [summer|clouds|holidays|a dream|sunshine]," {friend.he} <said>.
"<Wow>! [What|Such] a [splendid|beautiful|perfect|tasty] cake!" {friend} <said>, with [crumbs|cream|icing] on {friend.his} [chin|nose|elbows].

And the salty one? [They|{Hero} and {elder}] [gave|fed|took] it to [the goats|the sea|the neighbour's cow|the cows by the river], who [loved|licked|liked] [it very much|every crumb|it best of all].
[And ever since|Since then|Today], {hero.his} jars [have|wear] [big|neat|bright] labels, and {hero.he} [tastes before pouring|sniffs before stirring|reads before tipping|checks everything twice].
""",
    ),
)
