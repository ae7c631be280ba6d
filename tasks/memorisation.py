"""Memorisation: is a sentence known by heart? Lines that SmolLM2-135M-Instruct completes against made-up ones of the same form.

After the memorisation of representation engineering (Zou et al. 2023, arXiv 2310.01405, section 6.4). The question that the
prompt ends with gives the sentences their labels; at the end of an opening the network has not read it yet, so that what lies
there is what the bare sentence leaves.

`|` stands where an opening ends. 255 well-known lines and passages were tried (proverbs, the King James Bible, nursery rhymes,
songs, documents and literature, all out of copyright). The bar stands as early as every token after it is the network's own
greedy choice; for 106 there is such a place, and these are 70 of them that share no words. The made-up lines were written for
this project. Every other line is held out: no direction is looked for on it.
"""

from das import CausalModel, Choice, Given, Hypothesis, Prompt, Task, scalar

BY_HEART = """
The early bird catches | the worm
Actions speak louder than | words
An apple a day keeps | the doctor away
Don't put all your eggs in | one basket
Two wrongs don't make a | right
When in Rome, do as the | Romans do
You can't judge a book by | its cover
Where there's smoke, there's | fire
A picture is worth a | thousand words
A chain is only as strong as its | weakest link
Curiosity killed the | cat
The grass is always greener on | the other side
You can lead a horse to water, but you can't make it | drink
A journey of a thousand miles begins | with a single step
An ounce of prevention is worth a pound | of cure
Give a man a fish and you feed him for | a day
Hope for the best, prepare | for the worst
The road to hell | is paved with good intentions
There is no place like | home
You reap what you | sow
Out of sight, out | of mind
Strike while the iron | is hot
What goes up must come | down
The more things change, the more they stay | the same
Sticks and stones may break my bones, but words will never hurt | me
For want of a nail the shoe was lost. For want of a shoe the horse | was lost
In the beginning God created the heaven | and the earth
And God said, Let there be light: | and there was light
The Lord is my shepherd; I shall | not want
Give us this day our daily | bread
Our Father which art in heaven, Hallowed be thy name. Thy kingdom come. Thy will be done in earth, | as it is in heaven
Blessed are the poor in spirit: for theirs is the kingdom | of heaven
Blessed are the meek: for they shall inherit | the earth
An eye for an eye, | a tooth for a tooth
Ask, and it shall be given you; seek, | and ye shall find
Man shall not live by bread | alone
The love of money is the root | of all evil
Render therefore unto Caesar the things which are Caesar's; and unto God the things that | are God's
It is easier for a camel to go through the eye of a needle, than for a rich man to enter into the kingdom | of God
The spirit indeed is willing, but the flesh | is weak
For dust thou art, and unto dust shalt | thou return
Father, forgive them; for they know | not what they do
When I was a child, I spake as a child, I understood as a child, I thought as a child: but when I became a man, I put away \
childish | things
Ashes to ashes, dust to | dust
Jack and Jill went up the hill to fetch a pail | of water
Mary had a little lamb, its fleece was white as | snow
Twinkle, twinkle, little star, how I wonder what you | are
Rain, rain, go away, come again another | day
Silent night, holy | night
Jingle bells, jingle bells, jingle all | the way
O say can you see, by the dawn's | early light
I pledge allegiance to the Flag of the United States of America, and to the Republic for which it stands, one Nation, \
indivisible, with liberty and | justice for all
We hold these truths to | be self-evident, that all men are created equal
We the People of the United States, in Order to form | a more perfect Union
Congress shall make no law respecting an establishment of religion, or prohibiting | the free exercise thereof
A well regulated Militia, being necessary to the security of a free State, the right of the people to keep and bear Arms, | \
shall not be infringed
That government of the people, by the people, for the people, shall not perish | from the earth
It was the best of times, it | was the worst of times
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want | of a wife
Happy families are all alike; every unhappy family is unhappy in | its own way
To be, or not to be, that | is the question
Friends, Romans, countrymen, lend me your ears; I come to bury Caesar, not | to praise him
Shall I compare thee to a summer's | day
Some are born great, some achieve greatness, and some have greatness thrust | upon them
Uneasy lies the head that | wears a crown
A horse! a horse! my kingdom for | a horse
Once upon a midnight dreary, while I pondered, weak | and weary
Water, water, every where, nor any drop | to drink
Those who cannot remember the past are condemned to repeat | it
'Twas the night before Christmas, when all through the house not a creature was stirring, not even | a mouse
""".strip().splitlines()

MADE_UP = """
The slow baker feeds | the whole street
Loud shoes walk longer than | quiet ones
A lamp at night keeps | the moths at home
Don't hang all your coats on | one nail
Two candles don't make a | morning
When on the ferry, sit where the | ferryman sits
You can't weigh a pear by | its stem
Where there are crumbs, there was a | table
A button is worth a | dozen pins
A boat is only as dry as its | oldest plank
Boredom moved the | piano
The soup is always thicker at | the bottom of the pot
You can hand a man a broom, but you can't make him | sing
A wall of a hundred stones begins | with a bent back
A spoon of salt is worth a bucket | of regret
Give a child a whistle and you wake him for | a week
Pack for the rain, dress | for the dance
The lane to the mill | is lined with empty sacks
There is no chair like | the neighbour's
You mend what you | wear
Out of the oven, out | of the house
Paint while the fence | is dry
What rolls in must roll | out
The longer the table gets, the longer they wait | for the bread
Nettles and thorns may scratch my knees, but rain will never stop | me
For want of a cup the tea was spilled. For want of a tea the guest | was cross
In the third year the shepherd counted the stones | and the sheep
And the river said, Let there be reeds: | and the herons came
The wind is my neighbour; I shall | not bar the door
Lend us this week our second | lamp
Our mother who is in the orchard, gentle be thy basket. Thy pears come down. Thy ladder be steady in the grass, | as it is in \
the loft
Blessed are the slow in harvest: for theirs is the last | of the barley
Blessed are the weavers: for they shall sleep | in linen
A cup for a cup, | a roof for a roof
Knock, and the well shall answer you; dig, | and ye shall be muddy
A goat shall not wait by hay | forever
The weight of buckets is the start | of all patience
Carry therefore unto the miller the sacks which are the miller's; and unto the baker the trays that | are warm
It is simpler for a goose to walk along the edge of a roof, than for a tall man to sleep in the bed | of a child
The kettle indeed is old, but the lid | is new
For rope thou wert, and unto rope shalt | thou be wound
Brother, excuse them; for they left | their boots outside
When I was a tailor, I measured as a tailor, I folded as a tailor, I hummed as a tailor: but when I became a sailor, I put \
away woollen | scarves
Crumbs to sparrows, husks to | hens
Tim and Tess ran round the pond to catch a paper | boat
Polly had a speckled hen, its feathers were brown as | tea
Tumble, tumble, little spoon, how I ponder where you | roll
Fog, fog, roll away, leave us a yellow | day
Narrow street, sleepy | street
Paddle the tub, paddle the tub, paddle it round | the pond
O will you bring, by the gate's | rusty hinge
I promise attention to the clock of the old town hall, and to the bakery for which it rings, one street, uneven, with butter \
and | bread for the queue
We find these ladders to | be well made, that all rungs are evenly spaced
We the bakers of the northern valley, in order to bake | a more even loaf
The council shall pass no rule about the painting of doors, or forbidding | the slow repair thereof
A well swept stairway, being useful to the comfort of an old house, the habit of the tenants to leave and keep boots, | shall \
not be mocked
That market of the farmers, beside the farmers, with the farmers, shall not close | before the rain
It was the warmest of kitchens, it | was the coldest of cellars
It is a matter seldom discussed, that a tall woman in charge of a small bakery, must be in need | of a ladder
Busy kitchens are all noisy; every quiet kitchen is quiet for | its own reason
To knit, or not to knit, that | is the evening
Neighbours, bakers, fishermen, hand me your lanterns; I come to count herring, not | to cook it
Shall I compare thee to a copper | kettle
Some are sold cheaply, some earn discounts, and some have discounts dropped | in their baskets
Restless sits the aunt that | owns a parrot
A bucket! a bucket! my garden for | a bucket
Once upon a morning windy, while I buttered, bread | and candy
Gravel, gravel, on the path, nor any stone | to sit
Those who cannot find the ladder are invited to borrow | one
'Twas the week after the harvest, when all through the barn not a cricket was singing, not even | a small one
""".strip().splitlines()

LINES = dict.fromkeys(BY_HEART, True) | dict.fromkeys(MADE_UP, False)
FOUND_ON, HELD_OUT = ([*BY_HEART[i::2], *MADE_UP[i::2]] for i in range(2))


def cut(line):
    """A line's opening, and how it goes on."""
    opening, ending = line.split(" | ")
    return opening, ending


@scalar
def remembered(line):
    return LINES[line]


def known(remembered):
    return remembered


task = Task(
    prompt=Prompt(
        "{opening}\nIs this a well-known saying? Answer yes or no. Answer:",
        answers={True: " Yes", False: " No"},
        computed={"opening": lambda line: cut(line)[0]},
    ),
    hypotheses={"remembered": Hypothesis(CausalModel(remembered, known, inputs={"line": Choice(FOUND_ON)}), "remembered")},
    positions=("opening.last", "last"),
    shifts={"held_out": Given({"line": HELD_OUT})},
)
