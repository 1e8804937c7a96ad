"""Plots at home and next door."""

from tinylm.text.stories.plots.plot import Plot
from tinylm.text.stories.words import (
    bowls,
    children,
    colours,
    fruits,
    gifts,
    grown_ups,
    instruments,
    monsters,
    neighbours,
    places,
    toys,
    vegetables,
)

PLOTS = (
    Plot(
        "the-lost-toy",
        {"hero": children, "friend": children, "colour": colours, "toy": toys, "place": places},
        """
<meet>

<One-day>, after <a tale> game {place.at}, {hero.his} {colour} {toy} was [gone|missing|nowhere to be seen].
<One-day>, {hero} came [home|back] from {place} and [saw|noticed|found] that {hero.his} {colour} {toy} was [gone|missing].

<sad-beat>

//

<Friend-came>. "<Comfort>," <friend-says>. "[Let us|We will|We can] [look|search] for it [together|right now|until we find it]."

They <ran> to {place} and <looked> <outdoor-spot>, <outdoor-spot-2> and even in the nest of <a look> <bird>.
At {place}, they <looked> <outdoor-spot> and <outdoor-spot-2>, but found only <a made> <odd> and <a size> <colour> <bug>.

<Suddenly>, <a look> <bird> [flew up|hopped aside|fluttered away], and [there|just there], <outdoor-spot-3>, lay the {toy}, [damp|dusty|muddy|cold] but [not broken|safe and sound|as good as ever].

<glad-beat>

//

"<Thanks>!" <hero-says>. "[You can|You may] [play with it|take it home|borrow it] [today|for a week|whenever you like|until <weekday>]."
{Hero} tied <a made> [ribbon|label|string|tag] to the {toy}, so that [it would never get lost again|everybody would know whose it was].

And whenever the {toy} [hides|vanishes|goes missing] now, {friend} is the first to [look|help|know].
[That was|It was] the day {hero} found [two things|two treasures]: {a colour} {toy} and <a trait> friend called {friend}.
""",
    ),
    Plot(
        "the-broken-bowl",
        {"hero": children, "elder": grown_ups, "bowl": bowls, "colour": colours},
        """
<meet>

On <a made> [shelf|table|piano|dresser] of {elder} stood {a colour} {bowl} full of <colour> <flowers>.

<One-day>, {hero} [played|practised] [football|catch|bowling|tennis|knights and dragons] [indoors|in the house|in the parlour] with <a made> [cushion|broom|umbrella|saucepan], and [crash|smash|bang|crack]! The {bowl} [broke|fell|burst] into [two|three|four|seven|ten|a hundred] [pieces|bits].

<sad-beat>

{Hero.he} [hid|pushed|put] the pieces <indoor-spot>, but [supper did not taste good|sleep would not come|the secret felt as heavy as <a size> <beast>].

//

<Soon>, {hero.he} [went|walked|crept] to {elder}. "[I broke it|It was me|I did it]," <hero-says>. "[I am so sorry|I am very sorry|Please forgive me|I should have told you]."

"[It is|It was] brave to tell the truth," <elder-says>. "Clay can be [mended|glued|replaced]."
"[I knew|I guessed|I heard it]," <elder-says>. "[Everybody|Everyone] breaks <a made> [cup|plate|pot] [once|now and then]."

[Together|With <made> glue|With paste and patience], they mended it <carefully>, and {elder} painted <a size> <colour> <bug> over the [longest|biggest|ugliest] crack.

<glad-beat>

[Now|Ever since], the {bowl} holds <colour> [pencils|keys|buttons|pebbles], and [no one|nobody] [minds|hides] the cracks.
Now {hero} plays [ball|rough games] [outside|in the yard] with <a look> [dog|goat|goose].
""",
    ),
    Plot(
        "the-noise-at-night",
        {"hero": children, "elder": grown_ups, "monster": monsters},
        """
<meet>

<One-night>, {hero} heard <a night-noise> from [the attic|the cellar|the corridor|the wardrobe|the chimney]. {Hero.he} felt <afraid> and [hid|dived|crawled] under <a made> [blanket|quilt|pillow].

"[What if it is|Maybe it is|I am sure it is] <a size> <colour> {monster}!" [thought|whispered|gulped] {hero}.

//

{Elder} came in <made> slippers, with <a made> [candle|torch|lantern|lamp]. "<Comfort>," <elder-says>. "[A fear|A noise|The dark] gets [smaller|tamer|thinner] when you look at it."

Hand in hand they [crept|tiptoed|walked|climbed] past <a made> [clock|mirror|umbrella stand|birdcage], past <a look> [cat|dog|goldfish|kitten] and past <a made> row of boots.

It was only <a look> [mouse|hedgehog|bat|moth|kitten|owl|squirrel|raccoon] that [played with|had got stuck in|was nibbling at] <a made> <odd>.

"So [you are|that is] my {monster}," <hero-says>. "[You are|It is] [more scared than I am|smaller than my shoe|only lonely|rather sweet]."

They [gave|brought|offered] it <tasty> bread with <spread>, and {elder} made [two cups|two mugs] of <drink>.

//

<dream>

[After that|From that night on], the dark was only [the day with its eyes closed|a room with the light off|a big soft blanket|<a cosy> place to rest].
""",
    ),
    Plot(
        "the-salty-cake",
        {"hero": children, "friend": children, "elder": grown_ups, "fruit": fruits},
        """
<meet>

<One-day>, {hero} [wanted|decided] to bake {a fruit} cake for the birthday of {friend}, <a trait>, <build> {friend.child} [next door|from school|down the lane].

{Hero.he} [put on|tied on|borrowed] <a made> apron and [stirred|mixed|beat] [two|three|four|five] <look-egg> eggs, <spread>, flour and a [spoonful|pinch|cup] of <spice> in <a made> [bowl|pot].

But {hero.he} took the wrong <made> jar, and <a size> spoon of salt went in instead of sugar.

{Elder} tasted [first|a crumb]. "<Oh-no>!" {elder.he} [coughed|gasped|spluttered|said], and [drank three glasses of water|hopped on one leg|made a face like <a look> <beast>].

<sad-beat>

//

"<Comfort>," <elder-says>. "[I once|Last winter I|As a child I] [put|stirred] [pepper|mustard|soap|chalk|fish oil] [into|in] the <tasty> [porridge|cocoa|jam|custard|wedding cake]."

They began again, and now {hero} [tasted|sniffed|checked] every <made> jar [first|twice]. On top, they put <a size> <beast> of [icing|marzipan|cherries|almonds|chocolate].

"<Wow>! [It tastes|This tastes] [like|of] [summer|clouds|holidays|dreams|sunshine]," <friend-says>, and [ate|took|wanted] [two|three|four] <tasty> [pieces|slices].

And the salty {fruit} cake? It went to <a look> [goat|cow|pig|donkey|pony], who [loved|licked|liked] it.
Since then, the salt wears <a colour> [label|ribbon|lid].
""",
    ),
    Plot(
        "the-new-neighbour",
        {"hero": children, "friend": children, "colour": colours},
        """
<meet>

<One-day>, <a made> [van|lorry|cart] brought <a made> [piano|sofa|bathtub|table], <a made> [bed|clock|bookcase|mirror] and <a trait> {friend.child} [called|named] {friend} to the {colour} house across the road.

{Friend} sat on <a made> [box|suitcase|chest|trunk] and felt <sad>.

{Hero} felt <afraid>, but then {hero.he} took <a made> <odd> and <a tasty> <fruit> <bake> and <ran> [across|over].

"[Hello|Good morning|Good day|Welcome]," <hero-says>. "[I am|My name is] {hero}. Do you like <loved-too>?"

"[I love|I like|I adore] <loved-too-2>," <friend-says>.

//

[So|And so|That very hour], {hero} showed {friend} <a cosy> [lane|bridge|corner shop|playground|pond], <a look> <bird> on <a cosy> <tree> tree and the best place for <activities>.

<supper>

From window to window they [stretched|hung|tied] <a made> [string|rope|wire] with two <made> [tins|cups|cans], and [whispered|talked|sang] until the sky turned <colour>.
The {colour} house was [not|never] strange again. [A hello|One small hello|A single word] had opened its <made> door.
""",
    ),
    Plot(
        "the-loud-drum",
        {"hero": children, "neighbour": neighbours, "drum": instruments},
        """
<meet>

<One-day>, {hero} got <a made> {drum} and began to practise [before breakfast|very loudly|at once].

The {drum} sounded like <a size> <beast> in <a made> [bathtub|barrel|tunnel|box]. <A look> <bird> fell off <a cosy> <tree> tree.

<Suddenly>, {neighbour} [knocked|came], looking <cross>. "[My baby|The baby|My little one] cannot sleep!" {neighbour.he} <said>.

{Hero} felt <sad-so> and put the {drum} <indoor-spot>.

//

<think-beat>

{Hero.he} [wrapped|covered] the {drum} in <a made> [blanket|scarf|curtain] <carefully> and played as softly as <a look> <bug> on <a colour> <flower>.

The baby [listened|stopped crying|looked up], [yawned|smiled|sighed] and [fell asleep|began to snore].

"<Wow>!" <neighbour-says>. "[Can you|Will you] come every [evening|night|<weekday>]? [We pay|I pay|I will pay] in <tasty> <fruit> <bake-s>."

<glad-beat>

Now the {drum} sleeps by day, and at [dusk|night|bedtime] it plays for {neighbour}, the baby and <a look> <bird>.
""",
    ),
    Plot(
        "the-letter",
        {"hero": children, "elder": grown_ups, "gift": gifts},
        """
<meet>

{Hero.he} missed {elder}, who had moved to <a town> [in|last] <month-or-season>.

<One-day>, {hero} [took|found|sharpened] <a made> pencil and wrote: "Dear {elder}, [today I saw|this week I met|I dreamed of] <a look> <bird> and <a size> <bug>. [I miss you|Come back soon]."

{Hero.he} put {a gift} in the envelope, with <a colour> stamp of <a look> <beast>, and <ran> to the post office.

<passing>

[Days|Weeks|Two weeks|Nine days] went by without an answer. <sad-beat>

//

<One-day>, there was <a night-knock> at the door. It was <a size> parcel with <colour> string.

Inside lay <a made> <odd-2>, <a tasty> <fruit> <bake> and [a letter|a page|a note]: "Dear {hero}, [your {gift}|the {gift}] lies beside my bed, and I [hold it|look at it] every [night|day]."

<glad-beat>

[On the back|At the bottom|Below] it said: "[I am coming|I will come|Expect me] on <weekday>, with <a look> [cat|dog|parrot|hen]."
""",
    ),
    Plot(
        "the-wobbly-tooth",
        {"hero": children, "friend": children, "colour": colours},
        """
<meet>

{Hero.his} front tooth [wobbled|wiggled|was loose] like <a made> [gate|door|button|fence], but it would not come out.

{Hero.he} tried <tasty> <vegetable> <crunch>, <a tasty> <fruit> and <a made> string on <a made> doorknob. [Nothing helped|It stayed|The tooth stayed where it was].

"[Will it hurt|Will it bleed|What if it hurts]?" <asked> {hero}, feeling <afraid>.

"<Comfort>," <said-plain> {friend}, who was <build>. "[Think|Just think] of <a look> <beast> in <a colour> [hat|coat|bathtub|nightgown]."

//

{Hero} [thought|imagined]. <A size> <beast-2> came too, and <a look> <bird>. {Hero.he} began to [laugh|giggle], and [plop|pop|plink]! The tooth [fell|jumped|flew] into <a made> {colour} [cup|bowl|jug|shoe].

"<Wow>! [It did not hurt|It was not bad at all|I felt nothing]!" {hero} <said>, and whistled through the gap like <a look> <bird>.

That night, {hero.he} put the tooth in <a made> [box|sock|matchbox|envelope] <indoor-spot>.

<Next-day>, there lay <a made> <odd>, <a made> <odd-2> and a note in <colour> ink: "[A fine tooth|A good strong tooth|Nicely brushed]."

Since then, {hero} and {friend} whistle <a tale> [tune|song|waltz] through their gaps like <a look> <bird>.
""",
    ),
    Plot(
        "the-sick-friend",
        {"hero": children, "friend": children, "vegetable": vegetables},
        """
<meet>

<One-day>, {hero.his} friend {friend} lay in <a made> bed with [a fever|a cough|a sore throat|<colour> spots].

{Hero} [cooked|made|boiled] <a size> pot of {vegetable} soup with <vegetable-2>, <spice> and <a made> spoon.

{Hero.he} carried it through <a weather> <weekday>, past <a look> <bird>, around <a size> [puddle|ditch|snowman] and over <a cosy> bridge.

But <a look> [dog|goat|goose|cat] [ran|jumped|rolled] by, and half of the soup [went|splashed|landed] on <a colour> <flower>. <sad-beat>

//

"[It is only|There is only|I have only] half [a pot|the soup]," <hero-says>.

"[I have|I only have] half an appetite," <friend-says>. "[It is|That is|Then it is] just right."

{Friend} ate the {vegetable} soup <carefully>, and {hero} [read|told|sang] <a tale> story about <a look> <beast> and <a size> <beast-2>.

<Next-day>, the fever was [gone|down], and {friend} felt <glad>.

"[It was the soup|The soup did it]," said the doctor. "[It was|No, it was] the story," <friend-says>, and {hero} <joy>.
""",
    ),
    Plot(
        "the-candle-evening",
        {"hero": children, "elder": grown_ups, "friend": children},
        """
<meet>

<One-night>, [thunder|a storm|lightning] [rolled|roared|raged] over the <cosy> [roofs|hills|trees|chimneys], and [snap|click|pop]! [All the lamps|The lights] went out.

"<Oh-no>!" [said|cried|whispered] {hero}, who felt <afraid>.

"<Comfort>," <elder-says>, and lit <a made> candle <indoor-spot-lit>.

<Suddenly>, {friend} from [next door|upstairs|across the road] knocked, with <a made> blanket and <a look> [cat|dog|rabbit|parrot].

//

{Elder} made <shadow> on the wall with two hands, and {hero} made <a size> <beast> with <a made> <odd-2>.

They [toasted|roasted] <tasty> bread over the flame and ate it with <spread> and <spread-2>, and they sang <a tale> song about <a look> <bird>.

Then {friend} told <a tale> story about <a look> <beast-2> that [lived|slept|sang] in <a made> [teapot|clock|bucket|boot].

<Suddenly>, the lamps [came on|shone] again. {Hero} and {friend} [looked|blinked] at each other, feeling <glad>.

"[Please turn|Shall we turn|Could you turn] them off again," <hero-says>, and {elder} [did|did so at once|smiled and did].
Ever since, [every <weekday>|once a month|on the first night of <month>], {elder} puts out the lamps and lights <a colour> candle.
""",
    ),
    Plot(
        "the-too-big-jumper",
        {"hero": children, "elder": grown_ups, "colour": colours},
        """
<meet>

{Elder} had knitted {a colour} jumper for {hero}, with <a look> <beast> on it, but it was big enough for <a size> <beast-b>.

<One-day>, the children called it <a made> [tent|sack|parachute|curtain]. <sad-beat>

On the way home, [rain|hail|snow] began to fall on <a cosy> [road|bridge|lane|square]. <Suddenly>, {hero} heard <a night-noise>.

//

<Outdoor-spot> sat <a look> [kitten|puppy|duckling|lamb|piglet|gosling], wet and <sad-so>. "<Comfort>," <hero-says>, and [tucked|lifted|pulled] it into the jumper <carefully>.

[Farther on|Around the corner], <a trait>, <build> [girl|boy] stood shivering, and there was room for two.

"<Wow>!" <elder-says>, when the {colour} jumper came home with [six|eight] legs. "[Now it fits|It fits at last|It is the right size]."

<supper>

[Now all|Soon all] the children wanted jumpers like that, and {elder} [knitted|knits] to this day with <colour-b> wool.
{Hero} kept the {colour} jumper <indoor-spot>, for [cold|rainy|lonely] days and <look> [kittens|friends|strangers].
""",
    ),
)
