-- Points become a score: within a dimension by the weights of its measures, over the dimensions by theirs. What is
-- missing has no weight; too little left is `unknown`, never a colour.
with

measures as (

    select * from {{ ref('int_customer_measures__scored') }}

),

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

dimensions as (

    select * from {{ ref('health_dimensions') }}

),

bands as (

    select * from {{ ref('health_bands') }}

),

scored_dimensions as (

    select
        customer_id,
        as_of_date,
        dimension,
        {{ ratio('sum(weight * points)', 'sum(weight)') }} as points
    from measures
    group by
        customer_id,
        as_of_date,
        dimension

),

total_weight as (

    select sum(weight) as weight
    from dimensions

),

weighted as (

    select
        scored_dimensions.customer_id,
        scored_dimensions.as_of_date,
        {{ rounded(ratio('sum(dimensions.weight)', 'max(total_weight.weight)'), 5, 4) }} as coverage,
        {{ rounded(ratio('sum(dimensions.weight * scored_dimensions.points)', 'sum(dimensions.weight)'), 5, 2) }}
            as weighted_points
    from scored_dimensions
    inner join dimensions
        on scored_dimensions.dimension = dimensions.dimension
    cross join total_weight
    group by
        scored_dimensions.customer_id,
        scored_dimensions.as_of_date

),

-- the dimension that costs the most points, by its weight and how far it is from full marks
ranked_losses as (

    select
        scored_dimensions.customer_id,
        scored_dimensions.as_of_date,
        dimensions.dimension,
        row_number() over (
            partition by scored_dimensions.customer_id, scored_dimensions.as_of_date
            order by dimensions.weight * (100 - scored_dimensions.points) desc, dimensions.dimension
        ) as loss_rank
    from scored_dimensions
    inner join dimensions
        on scored_dimensions.dimension = dimensions.dimension
    where scored_dimensions.points < 100

),

covered as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        coalesce(weighted.coverage, 0) as coverage,
        case when weighted.coverage >= {{ threshold('coverage_min') }} then weighted.weighted_points end as health_score
    from customer_days
    left join weighted
        on
            customer_days.customer_id = weighted.customer_id
            and customer_days.as_of_date = weighted.as_of_date

),

-- the highest band whose minimum the score reaches
banded as (

    select
        covered.customer_id,
        covered.as_of_date,
        max(bands.min_score) as min_score
    from covered
    inner join bands
        on covered.health_score >= bands.min_score
    group by
        covered.customer_id,
        covered.as_of_date

),

final as (

    select
        covered.customer_id,
        covered.as_of_date,
        covered.health_score,
        coalesce(bands.band, 'unknown') as health_band,
        cast(covered.coverage as decimal(5, 4)) as coverage,
        ranked_losses.dimension as weakest_dimension
    from covered
    left join banded
        on
            covered.customer_id = banded.customer_id
            and covered.as_of_date = banded.as_of_date
    left join bands
        on banded.min_score = bands.min_score
    left join ranked_losses
        on
            covered.customer_id = ranked_losses.customer_id
            and covered.as_of_date = ranked_losses.as_of_date
            and ranked_losses.loss_rank = 1

)

select * from final
