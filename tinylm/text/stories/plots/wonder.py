"""Plots with a little magic."""

from tinylm.text.stories.plots.plot import Plot
from tinylm.text.stories.words import (
    big_animals,
    children,
    colours,
    creatures,
    flowers,
    foods,
    gifts,
    kinds,
    neighbours,
    pots,
    spells,
    vegetables,
)

PLOTS = (
    Plot(
        "the-cold-dragon",
        {"hero": children, "friend": creatures, "vegetable": vegetables, "colour": colours},
        """
<meet>

<One-day>, behind <a cosy> [barn|hill|bakery|mill], {hero} met {a colour} dragon [called|named] {friend}, who wore <a made> [scarf|hat|shawl|mitten] and [sneezed|sniffed|shivered].

"[I have lost my fire|My fire is out]," <friend-says>. "[I ate|It began when I ate] <a size> [icicle|snowball|lemon ice]." And <friend-gloom>.

{Hero} felt <afraid>, but <a trait> [voice|thought] inside said: <help-it>.

//

{Hero.he} gave {friend} <tasty> bread with <spread>, then <drink>, then <a made> [stove|candle|match|lamp]. [Nothing helped|It did not help].

So {hero} cooked <a size> [pot|pan|kettle] of {vegetable} soup, with <spice>, <vegetable-2> and [two|three|four|five] <colour> peppers.

{Friend} [ate|tasted|slurped] it <carefully>, turned <colour>, hiccuped, and [whoosh|foof|whoomp]! A flame [shot|flew] over <a cosy> <tree> tree.

<glad-beat>

"<Thanks>!" <friend-says>, and [toasted|roasted|baked] [two|three|four|five] <tasty> <bake-s> with one breath.

[In winter|Since then] {friend} [warms|heats] the <cosy> school, and {hero} brings the {vegetable} soup.
<night>
""",
    ),
    Plot(
        "the-robot-who-danced",
        {"hero": children, "neighbour": neighbours, "colour": colours},
        """
<meet>

{Neighbour} had built {a colour} robot from <a made> [kettle|stove|bicycle|piano], <a made> <odd> and <a made> <odd-2>. It [swept|washed|sorted|counted] all day.

<One-day>, <a trait> fiddler played <a tale> [tune|waltz|polka], and the robot [hummed|clicked|tapped].

"[It is broken|Something is wrong]!" {neighbour} <said>, feeling <cross>, and reached for <a made> [hammer|wrench|screwdriver|oil can].

"[Wait|Please wait]," <hero-says>. "[It wants to|I think it wants to] dance."

//

[So in|In] the <cosy> yard, {hero} showed it how to [hop|spin|bow|kick] like <a look> <bird>, and it [hopped|spun|bowed|kicked] like <a size> <beast>.

It fell over <a look> [hen|cat|goose|pig] and got up <carefully>.

<Next-day>, the {colour} robot danced with <a made> [broom|mop|rake|chair], then with {hero}, and [at last|in the end] with {neighbour}.

<glad-beat>

"[Work can wait|The dust can wait]," <neighbour-says>, and [ate|tasted|shared] <a tasty> <fruit> <bake>.

[Now there is|On <weekday> there is] a dance in the yard, with <colour> lamps, <tasty> <bake-s> and {a colour} robot.
<dream>
""",
    ),
    Plot(
        "the-little-cloud",
        {"hero": creatures, "friend": children, "flower": flowers},
        """
Above <a town> floated {hero}, <a trait> cloud, no bigger than <a made> [pillow|blanket|tent|bathtub].

"[You cannot even|You can't even] fill <a made> [cup|spoon|thimble|boot]," the big clouds [laughed|rumbled|roared]. <sad-beat>

{Hero} <flew> [away|off], over <a cosy> [hill|lake|wood|bridge], past <a look> <bird> and past <a made> [kite|plane|balloon|chimney].

[Below|Far below] sat <a trait>, <build> {friend.child} [called|named] {friend}, beside a dry {flower}, feeling <sad>.

"[It was|This was] the {flower} of my [grandmother|grandfather|teacher]," <friend-says>. "[My can|My bucket] is empty."

//

{Hero} thought of <scent>, of <a look> <beast> and of the <tale> laughing, and one <size> tear fell, then [two|ten|twenty].

It was just enough. The {flower} [stood up|lifted its head], turned <colour> and [opened|bloomed], and <a size> <bug> [came|flew] to see it.

"<Wow>!" <friend-says>. "[A big|One big] cloud would have [drowned|broken|flattened] it."

<glad-beat-cloud>

[Every evening|At dusk] {hero} turns <colour> above the house of {friend}, and <a look> <bird> sings.
<night>
""",
    ),
    Plot(
        "the-lighthouse-lamp",
        {"hero": children, "elder": neighbours, "colour": colours},
        """
<meet>

In <a cosy> lighthouse nearby, {elder} lit <a made> lamp every night.

<One-night>, {elder} lay in bed with [a fever|a bad foot|a cough|a cold], and <a made> ship with {a colour} sail was on its way.

"[The rocks|Those rocks] are as sharp as <a made> [saw|fork|needle|knife]!" <elder-says>, feeling <afraid>.

//

{Hero} <ran> up the <made> stairs, but {hero.his} candle was smaller than <a look> <bug>.

{Hero.he} found <a made> mirror, <a made> [spoon|tray|pan|bell] and <a size> jar and [turned|set|tied] them around the flame <carefully>.

[Now it|The light] [shone|blazed] over the <colour> waves like <a made> [star|moon|window|comet]. The {colour} sail [turned|swung], and the ship [was safe|came in].

"<Thanks>!" [cried|called|shouted] the captain, <a trait>, <build> [woman|man].

<glad-beat>

[Now there are|There are] two keepers, {elder} by [night|moonlight] and {hero} by [day|sunlight].
<supper>
""",
    ),
    Plot(
        "the-wrong-spell",
        {"hero": children, "elder": neighbours, "spell": spells, "pot": pots},
        """
<meet>

{Hero} was the pupil of {elder}, <a trait> wizard in <a cosy> tower full of <look> toads.

<One-day>, {hero} [opened|took] the <made> book of spells. "{Spell}!" {hero.he} [said|read|sang] to the {pot}.

[At once|Then] the {pot} began to pour <tasty> soup, over <a made> [carpet|chair|bench|bed] and over <a look> [cat|toad|owl|rat].

"{Spell}!" [cried|shouted] {hero} again, but the soup only rose. <sad-beat>

//

{Hero.he} [tried|used] <a made> <odd-2> and <a made> [broom|mop|sponge].

<Suddenly>, {elder} stood there, looking <cross>. "What is the [kindest|shortest] word you know?" <asked> {elder}.

"[Please|Enough, please]," {hero} said to the {pot} <softly>, and it stopped.

"{Spell} is only half the magic," <elder-says>. "[Please is|Kindness is] the rest."

[They scrubbed|They mopped] <carefully> until <weekday>, and <a look> <bird> and <a size> <beast> came for the soup.

<glad-beat>
""",
    ),
    Plot(
        "the-star-in-the-well",
        {"hero": children, "friend": children, "gift": gifts},
        """
<meet>

<One-night>, {hero} and {friend}, <a trait>, <build> {friend.child} from the next [farm|house|street], saw <a colour> star fall [into|down] the <cosy> well.

"[Help|Hello]," said <a size> voice. "[It is|It's] as wet as <a look> <beast> down here."

"<Oh-no>," <friend-says>. "[A star|It] will [go out|rust|catch a cold]."

<think-beat>

//

{Hero} brought <a made> [rope|ladder|net|chain], and {friend} <a made> [bucket|basket|kettle|hat]. They pulled <carefully>.

There sat the star, no bigger than {a gift}, and it smelled of <scent>. They [dried|wrapped] it with <a made> [towel|scarf|sock|blanket] and gave it <drink>.

"[I fell|I slipped], because I [danced|laughed] with <a look> comet," [said|sighed] the star. "[How do|How can] I get home?"

{Friend} [fetched|took] <a made> [kite|bow|swing|trampoline], {hero} counted to [three|seven|ten], and [up|off] it [went|flew], past <a look> <bird> and <a cosy> <tree> tree.

<glad-beat>

In the well they found {a gift} of [light|silver|stardust], and <colour> water that tasted of <scent>.
<dream>
""",
    ),
    Plot(
        "the-lonely-scarecrow",
        {"hero": creatures, "friend": creatures, "food": foods, "colour": colours},
        """
In <a cosy> field [by|near|behind] the <waters> stood {hero}, <a trait> scarecrow with <a made> hat, {a colour} coat and <a size> <vegetable-3> for a nose.

{Hero.his} work was to scare the <birds>, and so [nobody|no one] came near. <sad-beat>

<One-night>, <a look> crow [called|named] {friend} [fell|dropped] out of the <colour> sky, with a [hurt|sore|stiff] wing.

"[Come under|Creep into] my coat," <hero-says>, though {hero.he} was <afraid-of> of the farmer.

//

{Friend} [stayed|slept] in the {colour} coat for [three|four|five|six] days, ate {food} and told of <a town>, of <a size> <beast-2> and of <scent>.

<Suddenly>, the farmer came with <a made> [rake|bucket|scythe|lantern]. "[Is that|Do I see] a crow?" he [asked|growled|grunted|said|shouted|snapped].

"[It is|That is] my heart," <hero-says>, and [under|beneath] the coat it beat <carefully-heart>.

The farmer [laughed|smiled]. "[Then keep|Keep] it," he [said|answered], and [left|put down] <a tasty> <fruit> <bake>.

Now the <look> <birds> eat only {food}, and each [evening|morning] {friend} [combs|mends] the {colour} coat.
""",
    ),
    Plot(
        "the-giants-birthday",
        {"hero": creatures, "kind": kinds, "friend": creatures, "giant": big_animals, "gift": gifts},
        """
<meet-animal>

<One-day>, {friend} the {giant} had a birthday. <A look> <bird> brought <a made> <odd-2>, <a trait> [badger|goose|mole|toad] <a tasty> <fruit> <bake>, and {hero} had only {a gift}.

"[It is so|My present is so] small," <hero-says>, and <gloom>.

{Hero.he} [polished|washed|wrapped] the {gift} <carefully> and [hid|laid] it <outdoor-spot>.

//

{Friend} opened <a made> [box|sack|basket|trunk] and <a made> [parcel|barrel|chest], but looked <sad-giant>.

"Everything I own is big," <friend-says>. "[Nothing fits|I have nothing] in my [pocket|hand|paw]."

{Hero} gave {friend} the {gift}. "[Hold|Keep] it," <hero-says>.

{Friend} [looked|gazed] at it, and it shone like <a made> [star|lamp|window|spoon].

"<Wow>! It is the [best|finest|greatest]," <friend-says>, and [danced|waltzed] with {hero} like <a size> <beast>.

<picnic>

[Ever since|To this day], the {giant} has carried the {gift} <giant-spot>.
<night>
""",
    ),
)
