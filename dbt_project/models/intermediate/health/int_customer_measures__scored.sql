-- Every measure of a customer's day, raw and as points from 0 to 100 by its line in seeds/rules/health_measures.csv.
with

{% for measure in var('measures') %}
{{ measure }} as (

    select * from {{ ref('int_measure__' ~ measure) }}

),

{% endfor %}
rules as (

    select * from {{ ref('health_measures') }}

),

unioned as (

    {% for measure in var('measures') %}
    select
        customer_id,
        as_of_date,
        '{{ measure }}' as measure,
        cast(raw_value as double precision) as raw_value
    from {{ measure }}
    where raw_value is not null
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

final as (

    select
        unioned.customer_id,
        unioned.as_of_date,
        unioned.measure,
        rules.dimension,
        rules.weight,
        cast(unioned.raw_value as decimal(18, 4)) as raw_value,
        -- a straight line between the two points; which of them is larger says whether more is better
        {{ rounded('100 * greatest(0, least(1, ' ~ ratio(
            'unioned.raw_value - rules.points_0_at',
            'rules.points_100_at - rules.points_0_at'
        ) ~ '))', 5, 2) }} as points
    from unioned
    inner join rules
        on unioned.measure = rules.measure

)

select * from final
