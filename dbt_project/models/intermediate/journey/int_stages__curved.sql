-- How fast customers move on from a stage: for each day in it, the share of peers that had moved on by then, counting
-- those who left or are still there only for as long as they were seen (Kaplan and Meier 1958). Where a tier has few who
-- moved on, all customers stand in.
with

stages as (

    select * from {{ ref('customer_journey_history') }}

),

tiers as (

    select
        customer_id,
        tier
    from {{ ref('int_customers__valued') }}

),

all_tiers as (

    select distinct tier
    from tiers

),

-- moving on is reaching a later stage; leaving, and onboarding that ended by itself, is none
durations as (

    select
        stages.customer_id,
        stages.journey_stage,
        tiers.tier,
        stages.days_in_stage,
        case
            when stages.next_stage is null or stages.next_stage = 'churned' then 0
            when {{ stage_order('stages.next_stage') }} < {{ stage_order('stages.journey_stage') }} then 0
            when stages.is_next_not_activated then 0
            else 1
        end as moved_on
    from stages
    inner join tiers
        on stages.customer_id = tiers.customer_id
    where stages.journey_stage in ('presales', 'onboarding', 'adoption')

),

grouped as (

    select
        journey_stage,
        tier,
        days_in_stage,
        moved_on
    from durations

    union all

    select
        journey_stage,
        '' as tier,
        days_in_stage,
        moved_on
    from durations

),

by_day as (

    select
        journey_stage,
        tier,
        days_in_stage,
        count(*) as leaving,
        sum(moved_on) as moving_on
    from grouped
    group by
        journey_stage,
        tier,
        days_in_stage

),

at_risk as (

    select
        by_day.*,
        sum(leaving) over (
            partition by journey_stage, tier
            order by days_in_stage desc
        ) as still_there,
        sum(moving_on) over (partition by journey_stage, tier) as moved_on
    from by_day

),

-- the product of the shares that stayed, as a sum of logarithms; a day on which all moved on ends the curve
curves as (

    select
        journey_stage,
        tier,
        days_in_stage,
        moved_on,
        case
            when max(case when moving_on = still_there then 1 else 0 end) over (
                partition by journey_stage, tier
                order by days_in_stage
            ) = 1 then 1
            else 1 - exp(sum(case when moving_on < still_there then ln(1 - {{ ratio('moving_on', 'still_there') }}) else 0 end) over (
                partition by journey_stage, tier
                order by days_in_stage
            ))
        end as share_moved_on
    from at_risk

),

-- whose curve stands for a tier in a stage
chosen as (

    select
        of_all.journey_stage,
        all_tiers.tier,
        case when max(own.moved_on) >= {{ threshold('stage_curve_min_moves') }} then all_tiers.tier else '' end as curve_tier
    from all_tiers
    inner join curves as of_all
        on of_all.tier = ''
    left join curves as own
        on
            of_all.journey_stage = own.journey_stage
            and all_tiers.tier = own.tier
    group by
        of_all.journey_stage,
        all_tiers.tier

),

final as (

    select
        chosen.journey_stage,
        chosen.tier,
        curves.days_in_stage,
        {{ rounded('curves.share_moved_on', 5, 4) }} as share_moved_on,
        chosen.curve_tier = '' as is_of_all_tiers
    from chosen
    inner join curves
        on
            chosen.journey_stage = curves.journey_stage
            and chosen.curve_tier = curves.tier

)

select * from final
