with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'subscription_item') }}

),

renamed as (

    select
        ---------- ids
        id as subscription_item_id,
        subscription_id,
        plan_id as price_id,
        ---------- attributes
        {{ whole_number('quantity') }} as quantity,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
