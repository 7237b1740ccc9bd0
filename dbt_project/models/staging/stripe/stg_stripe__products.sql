with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'product') }}

),

renamed as (

    select
        ---------- ids
        id as product_id,
        ---------- attributes
        name as plan_name,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
