"""The words of the stories: pools for the attributes of a story, and phrases that any plot may use.

A pool row is one value with its forms. A phrase is a list of alternatives, equally likely unless a weight (`@2`) is given, in the notation of `notation`.
Rules for whoever adds to them: no phrase may be the beginning of another followed by what can come next (the check in the tests finds it), every word is ASCII, and every phrase must be right after every word it can follow.
"""

from tinylm.text.stories.notation import table, words

# Who ------------------------------------------------------------------------------------------------------------------

_GIRLS = "Mia Ada Lily Nora Ruby Ella Ivy Zoe Clara Hana Priya Amina Sofia Freya Tess Wren Maya Leila Olive Greta June Pearl Rosa Yuki Esme Hazel Dora Kiki Lena Nina Thea Willa"
_BOYS = "Ben Sam Leo Max Tom Finn Omar Hugo Theo Ravi Jack Felix Noah Oscar Kofi Luca Emil Otto Arlo Milo Dev Hal Ezra Jonas Kai Nico Pablo Rafi Sven Toby Victor Yusuf"
children = table(
    "children",
    "name|he|him|his|himself|child\n"
    + "\n".join([f"{name}|she|her|her|herself|girl" for name in _GIRLS.split()] + [f"{name}|he|him|his|himself|boy" for name in _BOYS.split()]),
)

_GROWN_WOMEN = "Grandma|Mama|Nana|Aunt Rosie|Aunt Bea|Aunt Flora|Cousin Edith|Granny Plum"
_GROWN_MEN = "Grandpa|Papa|Uncle Ned|Uncle Walt|Uncle Bram|Cousin Piet|Grandpa Joe|Old Barnaby"
grown_ups = table(
    "grown_ups",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _GROWN_WOMEN.split("|")] + [f"{name}|he|him|his|himself" for name in _GROWN_MEN.split("|")]),
)

_NEIGHBOURS_SHE = "Mrs. Finch|Mrs. Okoro|Miss Poppy|Mrs. Lindqvist|Miss Tanaka|Mrs. Button|Mrs. Rossi|Miss Marigold|Mrs. Patel|Mrs. Thimble|Miss Juniper|Mrs. Haddock"
_NEIGHBOURS_HE = "Mr. Bell|Mr. Osman|Mr. Crumb|Mr. Silva|Mr. Pepper|Mr. Novak|Mr. Whistle|Mr. Dubois|Mr. Barley|Mr. Moss|Mr. Anchor|Mr. Fiddle"
neighbours = table(
    "neighbours",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _NEIGHBOURS_SHE.split("|")] + [f"{name}|he|him|his|himself" for name in _NEIGHBOURS_HE.split("|")]),
)

_SHE_NAMES = "Nutmeg Clover Daisy Pippa Tansy Maple Bramble Fern Willow Dot Acorn Velvet Honey Tilly Poppet Pebble Sorrel Minnow Juniper Sage Lark Dewdrop Marigold Posy"
_HE_NAMES = "Pip Biscuit Rusty Moss Basil Bumble Digby Thistle Twig Pickle Button Barley Rufus Oakley Puddle Tuft Bracken Mortimer Wilbur Ferdinand Humphrey Stanley Chester Gus"
creatures = table(
    "creatures",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _SHE_NAMES.split()] + [f"{name}|he|him|his|himself" for name in _HE_NAMES.split()]),
)

# Small furry animals of the wood: what they are, where they sleep, what they like best.
kinds = table(
    "kinds",
    """kind|home|food
    mouse|hole under the oak|cheese crumbs
    rabbit|burrow|crunchy carrots
    squirrel|nest in the pine tree|hazelnuts
    hedgehog|pile of leaves|ripe pears
    mole|tunnel|turnips
    badger|den under the hill|honeycomb
    otter|house on the riverbank|watercress
    fox|den behind the waterfall|blackberry jam
    raccoon|hollow log|corn on the cob
    dormouse|teapot in the hedge|acorn biscuits
    beaver|lodge on the lake|birch bark
    hare|bed of ferns|clover
    weasel|gap in the old wall|rose hips
    chipmunk|cave behind the roots|sunflower seeds
    shrew|old boot by the fence|barley cakes
    vole|cellar below the willow|dandelion soup""",
)

# Things ---------------------------------------------------------------------------------------------------------------

colours = words("colours", "red|blue|green|yellow|purple|orange|pink|silver|golden|white|scarlet|turquoise|violet|brown|crimson|emerald|lilac|cream|indigo|copper")

toys = words(
    "toys",
    "teddy bear|wooden train|rag doll|toy boat|spinning top|toy rabbit|drum|music box|puppet|toy lion|marble|yo-yo|trumpet|rocking horse|toy whale|kaleidoscope"
    "|toy elephant|tin soldier|jigsaw puzzle|skipping rope|toy owl|whistle|bouncy ball|toy tractor",
)

gifts = words(
    "gifts",
    "button|feather|ribbon|seashell|pebble|acorn|bead|thimble|bell|marble|postcard|pinecone|key|coin|candle|pencil|buckle|walnut|bookmark|badge|bracelet|snow globe|stamp|mirror",
)

# Places to go on foot.
places = table(
    "places",
    """the|at
    the park|in the park
    the beach|on the beach
    the old mill|by the old mill
    the meadow|in the meadow
    the duck pond|by the duck pond
    the market square|in the market square
    the orchard|in the orchard
    the harbour|at the harbour
    the library garden|in the library garden
    the apple farm|on the apple farm
    the stone bridge|by the stone bridge
    the playground|in the playground
    the station|at the station
    the pine wood|in the pine wood
    the windy hill|on the windy hill
    the castle ruins|among the castle ruins
    the rose garden|in the rose garden
    the canal|beside the canal
    the village green|on the village green
    the bakery|outside the bakery
    the fountain|next to the fountain
    the football field|on the football field
    the water tower|under the water tower
    the strawberry field|in the strawberry field""",
)

# Phrases --------------------------------------------------------------------------------------------------------------

PHRASES = {
    # Time and weather. "one-day" begins a sentence that does not depend on the weather.
    "weather": "sunny|breezy|misty|golden|cloudy|bright|quiet|chilly|warm|gentle|windy|grey|sleepy|lazy|crisp|clear|mild|hazy|fresh|blustery|drizzly|sparkling|peaceful|cool",
    "weekday": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
    "month": "January|February|March|April|May|June|July|August|September|October|November|December",
    "one-day": """one <weather> [morning|afternoon|evening|day] @3
        on <a weather> <weekday> [morning|afternoon|evening] @2
        one <weekday> [in|early in|late in|at the end of|in the middle of] <month>
        early one <weather> morning
        late one <weather> afternoon""",
    "next-day": "the next [morning|day|afternoon]|the [morning|day] after|on <weekday>|the following <weekday>|when morning came|[two|three|four|five] days later|[before|after] breakfast the next day|a [day|week] later",
    "soon": "soon|before long|after a while|at last|a [moment|minute|little while|short while] later|[ten|five|twenty] minutes later|in the end|by and by|then|finally|in no time",
    "suddenly": "suddenly|all at once|just then|at that [very |]moment|all of a sudden|without any warning|in the blink of an eye|quite unexpectedly",
    "while": "[all|the whole] [morning|afternoon|day] long|for [an hour|two hours|a long time|half the day|ages and ages]|until [lunchtime|teatime|noon|{hero.his} arms ached|{hero.his} legs were tired]",
    # Adjectives.
    "trait": "kind|brave|curious|shy|cheerful|gentle|clever|patient|dreamy|lively|quiet|playful|thoughtful|careful|funny|stubborn|friendly|bold|merry|bouncy|honest|eager|polite|helpful|giggly|sensible|busy|hopeful|daring|tidy|messy|noisy|cheeky|adventurous|imaginative|warm-hearted|quick-witted|bright-eyed|soft-hearted|inventive",
    "glad": "happy@3|glad@2|cheerful|delighted|pleased|joyful|merry|thrilled|overjoyed|light-hearted|contented|jolly|warm inside|full of sunshine|proud|lucky|grateful|on top of the world|as happy as a lark|as pleased as a cat in the sun|like singing|like dancing|tickled pink|ten feet tall",
    "sad": "sad@3|unhappy|gloomy|miserable|lonely|downcast|sorry|heartbroken|disappointed|tearful|lost|blue|wretched|troubled|glum|heavy-hearted|small|forlorn|dreadful|upset",
    "afraid": "afraid|scared|frightened|nervous|worried|anxious|uneasy|shaky|jumpy|timid|trembly|alarmed|as jittery as a leaf|weak in the knees|cold all over|wobbly",
    "cross": "cross|grumpy|angry|annoyed|furious|huffy|sulky|bothered|irritated|as cross as a wet cat|prickly|snappish",
    "size": "tiny|small|little|big|large|enormous|huge|gigantic|long|round|plump|skinny|giant|miniature|mighty|medium-sized",
    "look": "shiny|fluffy|spotted|striped|dusty|speckled|sleek|crooked|wrinkled|silky|velvety|ragged|graceful|handsome|beautiful|lovely|funny-looking|drowsy|sleepy|proud|bashful|solemn|fat|thin|elegant|scruffy|bright|plain|grumpy|jolly|timid|wise-looking",
    "colour": "red|blue|green|yellow|purple|orange|pink|silver|golden|white|black|scarlet|turquoise|violet|brown|grey|peach-coloured|lemon-yellow|cherry-red|sky-blue|rust-brown|snow-white|mint-green|rainbow-coloured",
    "tasty": "warm|sweet|delicious|sticky|juicy|crumbly|buttery|creamy|tasty|yummy|spicy|crispy|golden-brown|steaming|fresh|soft",
    "cosy": "cosy|little|tiny|crooked|pretty|quiet|friendly|sleepy|dusty|windswept|sunny|leafy|hilly|tidy|ancient|cheerful|snug|faraway|narrow|bustling",
    # Adverbs for the way something is said or done.
    "softly": "softly|gently|quietly|kindly|warmly|cheerfully|happily|brightly|shyly|eagerly|proudly|politely|calmly|slowly|thoughtfully|sweetly|merrily|patiently|firmly|earnestly|hopefully|solemnly|wisely|dreamily|with a smile|with a wink|with a grin|with a nod|in a small voice|in a friendly voice|after a pause|at once",
    "carefully": "carefully|gently|slowly|bravely|patiently|neatly|quickly|boldly|eagerly|quietly|steadily|cautiously|proudly|busily|cleverly|calmly|without a word|with great care|with shaking hands|with both hands|as fast as lightning|as quietly as a mouse|inch by inch|little by little",
    "hard": "hard|deeply|long and hard|for a minute|for a long while|very carefully|as hard as possible|until an idea came|with closed eyes|about it|about everything|twice",
    # Speech.
    "said": "said@5|whispered|called|cried|replied|answered|murmured|laughed|announced|declared|explained|told everyone|chuckled|sang out|shouted|promised",
    "asked": "asked@4|wondered|begged|whispered|called|inquired|said|cried",
    "wow": "wow|hooray|hurray|goodness|goodness me|oh my|my word|gosh|look|oh|yippee|marvellous|wonderful|fantastic|amazing|well, well|just look|how lovely|brilliant|good gracious|what luck|splendid|superb|bravo",
    "oh-no": "oh no|oh dear|oh bother|dear me|goodness|uh-oh|what a pity|how awful|oh, bother and beetroot|good heavens|alas|oh, what a muddle|crumbs|fiddlesticks|heavens|botheration",
    "comfort": "don't worry|never mind|cheer up|there, there|don't be sad|chin up|dry your eyes|don't give up|it's all right|be brave|take heart|take a deep breath|hold my hand|don't cry|everything will be fine|come here",
    "thanks": "thank you|thank you so much|thanks a million|thank you very much|thank you from the bottom of my heart|how kind you are|bless you|many thanks|I can't thank you enough|you are a true friend|you are the best|you are very kind",
    # Moving, looking, thinking.
    "ran": "ran@3|raced|hurried|dashed|skipped|rushed|trotted|scampered|hopped|galloped|bounded|bustled|strolled|marched|wandered|tiptoed",
    "looked": "looked@2|searched|hunted|peered|peeked|checked",
    "indoor-spot": "under the <cosy> [bed|sofa|table|stairs|rug|armchair]|behind the <cosy> [curtain|cupboard|piano|bookcase|stove|door]|inside the <cosy> [basket|laundry bag|teapot|drawer|toy box|boot]|on top of the <cosy> [shelf|wardrobe|dresser|clock]",
    "outdoor-spot": "under the <cosy> [bench|bridge|archway|steps|awning|fence]|behind the <cosy> [bushes|shed|bins|wall|gate|hedge]|inside the <cosy> [bucket|mailbox|wheelbarrow|watering can|dustbin]|between the <cosy> [flowerpots|barrels|branches|crates|rocks]",
    "joy": "danced [a jig|a waltz|in a circle|on the spot|around the table]|turned [two|three|four] cartwheels|sang [all the way home|a funny song|at the top of {hero.his} voice]|clapped {hero.his} hands|laughed [out loud|until {hero.his} tummy hurt|with delight]|hugged everybody [twice|in sight]|jumped [for joy|up and down]|could not stop [smiling|giggling|humming|grinning]|wanted to tell the whole world|skipped [home|about|like a lamb]|threw {hero.his} hat in the air|did a little dance",
    "gloom": "{hero.his} [lip|chin|voice] [trembled|shook|wobbled]|a [tear|big tear|single tear] [ran|rolled|slid] down {hero.his} [cheek|nose]|{hero.his} [heart|tummy] [sank|felt heavy|felt like a stone]|{hero.he} [sniffed|sighed|swallowed hard|hung {hero.his} head|wanted to hide|could not say a word|stared at the ground]|the whole day seemed [grey|dark|spoiled|ruined]",
    "pondered": "sat down|stood still|closed {hero.his} eyes|scratched {hero.his} head|rubbed {hero.his} chin|walked in circles|chewed {hero.his} lip|looked up at the sky|wrinkled {hero.his} nose|folded {hero.his} arms|leaned against a wall|counted to ten",
    # Nature and food.
    "bird": "robin|sparrow|magpie|swallow|blackbird|pigeon|duck|goose|swan|heron|thrush|finch|crow|wagtail|kingfisher|woodpecker|cuckoo|nightingale|seagull|starling|goldfinch|raven|wren|turtledove",
    "birds": "robins|sparrows|magpies|swallows|blackbirds|pigeons|ducks|geese|swans|herons|crows|seagulls|starlings|ravens|wrens|doves",
    "bug": "beetle|ladybird|snail|bumblebee|butterfly|grasshopper|dragonfly|caterpillar|spider|cricket|worm|moth|ant|earwig|firefly|centipede",
    "beast": "elephant|giraffe|camel|walrus|penguin|kangaroo|hippo|zebra|tiger|panda|lion|donkey|goat|sheep|pony|crocodile|parrot|ostrich|flamingo|whale|octopus|turtle|llama|moose|reindeer|yak|lobster|seal|koala|gorilla|peacock|unicorn",
    "flower": "daisy|tulip|poppy|rose|bluebell|sunflower|buttercup|lily|violet|primrose|foxglove|daffodil|dandelion|snowdrop|marigold|iris|lavender bush|honeysuckle|pansy|thistle",
    "tree": "oak|willow|birch|chestnut|maple|pine|elm|beech|apple|cherry|pear|walnut|plum|lime|poplar|hazel",
    "fruit": "apple|pear|plum|cherry|peach|strawberry|raspberry|blueberry|apricot|rhubarb|lemon|orange|blackberry|gooseberry|fig|mango",
    "vegetable": "carrot|potato|pumpkin|tomato|pea|leek|onion|mushroom|cabbage|bean|parsnip|lentil|spinach|celery|turnip|corn",
    "spread": "honey|butter|jam|cheese|marmalade|cream|peanut butter|plum jelly|apple butter|syrup|sesame paste|treacle",
    "bake": "pie|tart|cake|pudding|crumble|muffin|bun|pancake|dumpling|scone|biscuit|turnover",
    "drink": "[hot|warm] [milk|cocoa|chocolate|cider|lemon tea|mint tea]|cold [lemonade|milk|water|elderflower juice|apple juice|ginger beer]",
    "colour-or-look": "<colour>|<look>",
    "waters": "sea|river|lake|hills|woods|mountains|mill|marsh|cliffs|moor|forest|canal",
    "town": "<cosy> [village|town|valley|street|house|cottage|farm|harbour town] [by|near|beside|not far from|at the edge of] the <waters>",
    # What a child may love, whatever the plot.
    "loved": "[strawberry|raspberry|plum|apricot] jam|[long|old|funny|silly] [stories|songs|riddles|jokes]|[muddy|deep|splashy] puddles|[climbing|drawing|counting|painting] [trees|clouds|birds|dragons|castles|boats]|[warm|crusty|fresh] bread|[collecting|sorting] [stones|stamps|shells|buttons|feathers|leaves]|[whistling|humming] [in the bath|on the stairs|at breakfast]|[woolly|stripy] socks|the smell of [rain|toast|cut grass|oranges]|[looking at|reading about] [maps|stars|planets|whales|trains|volcanoes]",
    "feature": "freckles on {hero.his} [nose|cheeks]|a gap between {hero.his} front teeth|[curly|wild|tangled|straight|short|long] [black|brown|red|fair|golden] hair|[big|bright|sparkling|dark|serious] eyes|a [loud|squeaky|sunny|rumbling] laugh|[pockets|a pocket] full of [string|crumbs|pebbles|conkers|chalk]|[quick|busy|gentle|inky] fingers|a [patched|borrowed|stripy|bobbly] [jacket|jumper|scarf|hat]",
    # Whole sentences. "meet" tells who a child is.
    "meet": """There was once <a trait> {hero.child} [called|named] {hero}, who loved <loved>.
        Once upon a time, in <a town>, [there lived|lived] <a trait> {hero.child} [called|named] {hero}.
        {hero} was <a trait> {hero.child} with <feature>.
        In <a town> lived {hero}, <a trait> {hero.child} with <feature>.
        {hero} was <a trait> {hero.child} who [loved|liked|adored] <loved>.""",
    # The same for an animal with a kind; its home is told in the plot.
    "meet-animal": """There was once <a trait> {kind} [called|named] {hero}, who lived in a [snug|cosy|dry|warm|tidy|crooked] {kind.home}.
        {hero} was <a trait> {kind} who [loved|liked|adored] {kind.food}.
        Deep in <a town-wood> lived {hero}, <a trait> {kind}.
        In <a town-wood>, in a [snug|cosy|dry|warm|tidy|crooked] {kind.home}, lived <a trait> {kind} [called|named] {hero}.
        {hero} the {kind} was the [busiest|smallest|jolliest|quietest|proudest|kindest|cleverest] animal in <a town-wood>, and [loved|liked|adored] {kind.food}.""",
    "town-wood": "<cosy> [wood|forest|valley|glade|grove|thicket] [by|near|beside|not far from|at the foot of] the [river|lake|hills|mountains|cliffs|moor|waterfall|marsh]",
    "passing": """On the way, {hero.he} [passed|saw|noticed|spotted|met|greeted] <a look> <bird>, <a size> <bug> and <a colour> <flower>.
        {Hero} [waved|nodded|smiled] at <a look> <bird> and [stepped over|tiptoed around|said hello to] <a size> <bug>.
        Along the path, {hero.he} [counted|saw|noticed] [two|three|four|five|six] <birds>, <a look> <bug> and <a size> <tree> tree.""",
    "sounds": """[Somewhere|Nearby|Overhead|Far away|Close by], <a look> <bird> [sang|called|chirped|whistled|answered|flapped its wings].
        [Somewhere|Nearby|High above|Far away|Close by], the [wind|breeze] [rustled|whispered|sighed|played|sang] in the <tree> [trees|leaves|branches].
        The air smelled of [wet|fresh|warm] [grass|leaves|earth|moss|hay|stone] and <flower-scent>.""",
    "flower-scent": "roses|lilac|mint|lavender|honeysuckle|wild garlic|thyme|clover|jasmine|pine needles|smoke|rain|apples|bread",
    "supper": """For supper there was [hot|thick|peppery|creamy] <vegetable> soup, [warm|fresh|crusty|brown] bread with <spread> and <a tasty> <fruit> <bake>.
        They [shared|ate|enjoyed] <a tasty> <fruit> <bake> and drank [mugs|cups|glasses] of <drink>.
        {Hero} [ate|had|finished] [two|three|four] slices of bread with <spread> and <a tasty> <fruit> <bake>.""",
    "picnic": """They [unpacked|shared] <a tasty> <fruit> <bake>, [some|a bag of|a bowl of] <vegetable> salad and a [bottle|flask|jug] of <drink>.
        They [nibbled|munched|shared] bread with <spread>, <a tasty> <fruit> and <a tasty> <vegetable> pie.""",
    "dream": """That night, {hero} dreamed of <a size> <colour> <beast> that [danced|juggled|sang|rode a bicycle|played the fiddle|baked bread|wore slippers|drank tea|flew a kite|told jokes|knitted socks|sailed a bathtub].
        That night, {hero} [slept|snored] like <a size> <beast> and dreamed of <a look> <beast-2> [in|with] <a colour> [hat|coat|boat|scarf|balloon|teacup|bathtub|nightgown].""",
    "beast-2": "dragon|mermaid|giant|wizard|snowman|robot|cloud|pirate|king|queen|train|teapot|moon|lighthouse|piano|pumpkin",
    "night": """[Outside|Above the roofs|Over the hills|Beyond the window], the [moon|stars|evening sky] [shone|glowed|glimmered|sparkled] [softly|brightly|like silver|like a lantern|until dawn].
        The [sun|evening sun] [went down|sank] behind the [hills|trees|roofs|chimneys|clouds], and the sky turned [pink|gold|purple|dark blue|crimson|orange].
        [Slowly|Softly|Gently], the [first|brightest] stars [came out|appeared|began to shine] over the [hills|trees|roofs|chimneys|fields].""",
    "glad-beat": """{hero} was so <glad-so> that {hero.he} <joy>.
        {hero} felt <glad>, and {hero.he} <joy>.
        "<Wow>!" [cried|shouted|laughed|cheered] {hero}, and {hero.he} <joy>.""",
    "glad-so": "happy@3|glad|delighted|pleased|joyful|thrilled|proud|grateful|excited|relieved|cheerful|merry",
    "sad-beat": """{hero} felt <sad>, and <gloom>.
        "<Oh-no>!" [said|cried|whispered|sighed|groaned|gasped|sobbed] {hero}, and <gloom>.
        {hero} had never felt so <sad-so>, and <gloom>.""",
    "sad-so": "sad|unhappy|gloomy|miserable|lonely|disappointed|glum|wretched|forlorn|upset|small|sorry",
    "think-beat": """{hero} <pondered> and thought <hard>.
        {hero} <pondered>. [What now|What could {hero.he} do|Was there a way|What would help|Who could help]?
        {hero} <pondered> until {hero.he} had [a plan|an idea|a good idea|a wonderful idea|a clever plan].""",
    "animals-came": "<a look> [mouse|toad|rabbit|hedgehog|squirrel|goose|lamb|piglet|calf|kid goat|foal|puppy|duckling|gosling|kitten|hen]",
    # Pieces for single plots.
    "giver": "[{hero.his} grandmother|{hero.his} grandfather|{hero.his} godmother|an uncle|an aunt|a cousin] [in|from] [the city|the mountains|Norway|Brazil|Kenya|Japan|Scotland|Portugal|India]|the [toymaker|carpenter|tailor|sailor] [in|from] the [next street|old town|corner shop]",
    "under-things-2": "beside the [pump|statue|ticket booth|rain barrel|bandstand]|behind the [hedge|bakery van|milk churns|ivy]|among the [nettles|ferns|reeds|cobblestones|roots]",
    "under-things-3": "under [a leaf|a log|an old newspaper|a wet bench|a heap of hay]|in a [ditch|puddle|thorn bush|hollow tree|flowerpot]|behind [a milestone|a bicycle|a stack of crates|a garden gnome|a drainpipe]",
    "tight": "tight|very tightly|twice|close|to {hero.his} chest|against {hero.his} cheek|again and again|as if it might fly away",
    "thanks-quote": "\"<Thanks>, {friend}[!|.]\"|\"<Thanks>[!|.]\"",
    "home-end": """[A thing|A toy|What is] lost is found [faster|sooner|more easily] by four eyes than by two.
        {Hero} and {friend} have [walked|gone] home together every [day|afternoon] since.
        [That was|It was] the day {hero} found [two things|two treasures]: a {toy} and a [friend|true friend|best friend].
        And whenever the {toy} [hides|vanishes|goes missing] now, {friend} is the first to [look|help|know].""",
    "flower-heap": "[red|white|yellow|pink|dried] [roses|tulips|poppies|daisies|lilies|violets|peonies|asters]",
    "one-night": "one <weather> night|one night in <month>|last <weekday> night|late one <weekday> evening",
    "night-noise": "[low|faint|sudden|long|hollow|strange] [scratching|rattling|tapping|creaking|groaning|rustling|thumping|squeaking|moaning|clicking]",
    "night-words": "scritch, scratch|tap, tap, tap|creak, creak|thump, thump|rattle, rattle|whoo, whoo|click, clack",
    "monster": "monster|ghost|troll|goblin|giant|witch|bear|wolf|crocodile|ogre|pirate|vampire bat",
    "night-cause": "[mouse|hedgehog|bat|moth|kitten|owl] [looking for supper|trying to get out|with a walnut|tangled in a curtain cord]|[branch|shutter|clothes hanger|rope] [knocking|swinging|rubbing] [in the wind|against the wall]|[bucket|pipe|tap|gutter] [dripping|gurgling] [in the rain|all by itself]",
    "spice": "cinnamon|vanilla|ginger|nutmeg|cardamom|cocoa|poppy seed|lemon peel|cloves|almond oil",
}
